#include "core/wal/object_header.h"

#include "core/base/error.h"

#include <algorithm>
#include <openssl/crypto.h>
#include <utility>

namespace dbops::core {

// From when its header is known.
struct ObjectDecoder::Object {
  ObjectHeader header;
  ContentDigest digest;
  std::optional<ZstdDecoder> zstd;
  std::optional<AesGcm> cipher;
  std::uint64_t records = 0;
  std::uint64_t size = 0; // of the plaintext so far
  Bytes plain;            // of a record
};

ObjectDecoder::ObjectDecoder(const KeyRing* keys, std::uint64_t limit, ByteSink sink, HeaderCheck check)
    : keys_(keys), limit_(limit), sink_(std::move(sink)), check_(std::move(check)) {}

ObjectDecoder::~ObjectDecoder() = default;

void ObjectDecoder::write(ByteView piece) {
  if (object_) {
    take_payload(piece);
    return;
  }
  append(pending_, piece);
  take_header(false);
}

// What is no header is found out as soon as there are enough bytes for the longest one, or no more.
void ObjectDecoder::take_header(bool is_all) {
  const auto size = header_size(pending_);
  const std::size_t needed = size ? std::min(*size, max_object_header_size) : max_object_header_size;
  if (pending_.size() < needed && !is_all) return;
  const ParsedHeader parsed = parse_header(pending_);
  const ObjectHeader& header = parsed.header;
  if (check_) check_(header);
  if (header.plaintext_size > limit_)
    throw Error(ErrorKind::corrupt, "object \"" + header.name + "\" holds " + std::to_string(header.plaintext_size) +
                                        " bytes, more than the " + std::to_string(limit_) + " expected");
  object_ = std::make_unique<Object>(
      Object{.header = header, .digest = ContentDigest(header, keys_), .zstd = {}, .cipher = {}, .plain = {}});
  if (header.codec == Codec::zstd) object_->zstd.emplace().begin(header.plaintext_size);
  if (header.cipher != Cipher::none) {
    AesKey key = unwrap_key(parsed, key_for(header, keys_));
    object_->cipher.emplace(key);
    OPENSSL_cleanse(key.data(), key.size());
  }
  const Bytes start = std::exchange(pending_, {});
  take_payload(ByteView(start).subspan(header.size));
}

void ObjectDecoder::take_payload(ByteView bytes) {
  if (object_->cipher)
    take_records(bytes);
  else
    decompress(bytes);
}

// A record is opened when it is known whether it is the last one: its nonce says so.
void ObjectDecoder::take_records(ByteView bytes) {
  const std::size_t sealed_size = object_->header.record_size + gcm_tag_size;
  while (!bytes.empty()) {
    if (pending_.size() == sealed_size) open_record(false);
    const ByteView piece = bytes.first(std::min(bytes.size(), sealed_size - pending_.size()));
    append(pending_, piece);
    bytes = bytes.subspan(piece.size());
  }
}

void ObjectDecoder::open_record(bool last) {
  Object& object = *object_;
  object.plain.clear();
  if (!object.cipher->open(record_nonce(object.records, last), {}, pending_, object.plain))
    throw Error(ErrorKind::corrupt, "record " + std::to_string(object.records) + " of object \"" + object.header.name +
                                        "\" is damaged: its authentication tag does not match");
  ++object.records;
  pending_.clear();
  decompress(object.plain);
}

void ObjectDecoder::decompress(ByteView bytes) {
  if (object_->zstd)
    object_->zstd->write(bytes, [this](ByteView plaintext) { take_plaintext(plaintext); });
  else
    take_plaintext(bytes);
}

void ObjectDecoder::take_plaintext(ByteView bytes) {
  Object& object = *object_;
  object.size += bytes.size();
  if (object.size > object.header.plaintext_size)
    throw Error(ErrorKind::corrupt, "object \"" + object.header.name + "\" holds more than its header says");
  object.digest.update(bytes);
  sink_(bytes);
}

ObjectHeader ObjectDecoder::finish() {
  if (!object_) take_header(true);
  Object& object = *object_;
  if (object.cipher) open_record(true);
  if (object.zstd) object.zstd->finish();
  if (object.size != object.header.plaintext_size || object.digest.finish() != object.header.digest)
    throw Error(ErrorKind::corrupt, "the content of object \"" + object.header.name + "\" does not match its digest");
  return object.header;
}

ObjectHeader decode_object(ByteView object, const KeyRing* keys, std::uint64_t limit, const ByteSink& sink) {
  ObjectDecoder decoder(keys, limit, sink);
  decoder.write(object);
  return decoder.finish();
}

} // namespace dbops::core
