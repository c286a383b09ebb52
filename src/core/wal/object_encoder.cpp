#include "core/wal/object_header.h"

#include "core/base/error.h"

#include <algorithm>
#include <openssl/crypto.h>
#include <stdexcept>

namespace dbops::core {

namespace {

constexpr std::size_t max_origin = 512;

ZstdContent content_of(ObjectKind kind) {
  switch (kind) {
  case ObjectKind::wal_segment:
  case ObjectKind::wal_partial:
  case ObjectKind::wal_chunk:
    return ZstdContent::pages;
  default:
    return ZstdContent::general;
  }
}

} // namespace

struct ObjectEncoder::Object {
  ObjectHeader header;
  std::optional<ContentDigest> digest;
  ByteSink payload;
  std::uint64_t written = 0;
  AesKey key{};
  std::optional<AesGcm> cipher;
  std::uint64_t records = 0;
  Bytes pending; // of the record that is being filled
  Bytes sealed;
  ~Object() { OPENSSL_cleanse(key.data(), key.size()); }

  void seal(bool last) {
    sealed.clear();
    cipher->seal(record_nonce(records++, last), {}, pending, sealed);
    pending.clear();
    payload(sealed);
  }
};

ObjectEncoder::ObjectEncoder(const EncodingOptions& options, Random& random)
    : options_(options), random_(random), zstd_(options.compression_level) {}

ObjectEncoder::~ObjectEncoder() = default;

std::size_t ObjectEncoder::begin(ObjectIdentity identity, std::uint64_t plaintext_size, WallTime created,
                                 ByteSink payload) {
  object_ = std::make_unique<Object>();
  object_->payload = std::move(payload);
  ObjectHeader& header = object_->header;
  header.kind = identity.kind;
  header.codec = options_.codec;
  header.plaintext_size = plaintext_size;
  header.system_identifier = identity.system_identifier;
  header.created = created;
  header.name = std::move(identity.name);
  header.origin = identity.origin.substr(0, max_origin);
  if (options_.keys != nullptr) {
    header.cipher = Cipher::aes_256_gcm;
    header.key_id = options_.keys->current().id();
    header.record_size = options_.record_size;
    random_.fill(object_->key);
    object_->cipher.emplace(object_->key);
  }
  header.size = encoded_size(header);
  object_->digest.emplace(header, options_.keys);
  if (header.codec == Codec::zstd) zstd_.begin(plaintext_size, content_of(header.kind));
  return header.size;
}

void ObjectEncoder::add_payload(ByteView bytes) {
  Object& object = *object_;
  if (!object.cipher) {
    object.payload(bytes);
    return;
  }
  while (!bytes.empty()) {
    if (object.pending.size() == object.header.record_size) object.seal(false);
    const ByteView piece = bytes.first(std::min(bytes.size(), object.header.record_size - object.pending.size()));
    append(object.pending, piece);
    bytes = bytes.subspan(piece.size());
  }
}

void ObjectEncoder::write(ByteView plaintext) {
  object_->written += plaintext.size();
  if (object_->written > object_->header.plaintext_size)
    throw std::logic_error("an object's plaintext has another size than announced");
  object_->digest->update(plaintext);
  if (object_->header.codec == Codec::zstd)
    zstd_.write(plaintext, [this](ByteView piece) { add_payload(piece); });
  else
    add_payload(plaintext);
}

Bytes ObjectEncoder::finish() {
  Object& object = *object_;
  if (object.written != object.header.plaintext_size)
    throw std::logic_error("an object's plaintext has another size than announced");
  if (object.header.codec == Codec::zstd) zstd_.finish([this](ByteView piece) { add_payload(piece); });
  if (object.cipher) object.seal(true);
  object.header.digest = object.digest->finish();
  Bytes header = encode_fields(object.header);
  if (object.cipher) {
    GcmNonce nonce{};
    random_.fill(nonce);
    const Bytes fields = header;
    append(header, nonce);
    AesGcm(options_.keys->current().wrap()).seal(nonce, fields, object.key, header);
  }
  append_checksum(header);
  object_.reset();
  return header;
}

Bytes encode_object(ObjectEncoder& encoder, ObjectIdentity identity, ByteView plaintext, WallTime created) {
  Bytes object;
  object.resize(encoder.begin(std::move(identity), plaintext.size(), created,
                              [&object](ByteView payload) { append(object, payload); }));
  encoder.write(plaintext);
  const Bytes header = encoder.finish(); // appends to the object, too
  std::ranges::copy(header, object.begin());
  return object;
}

} // namespace dbops::core
