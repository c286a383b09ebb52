#include "core/wal/object_header.h"

#include "core/base/error.h"

#include <algorithm>
#include <openssl/crypto.h>

namespace dbops::core {

namespace {

constexpr std::string_view magic = "DBOPSOBJ";
constexpr std::uint16_t format_version = 1;
constexpr std::size_t fixed_size = 76; // up to the first text field
constexpr std::size_t checksum_size = 8;
constexpr std::uint32_t max_record_size = 1 << 26;

template <class Enum>
Enum known(std::uint8_t value, Enum highest, const char* what) {
  if (value > std::uint8_t(highest))
    throw Error(ErrorKind::configuration,
                std::string("the object has ") + what + " " + std::to_string(value) +
                    ", which this version does not know",
                "Use a newer version of dbops.");
  return Enum(value);
}

// Checks magic, version, length and checksum. Returns the header without its checksum.
ByteView checked_frame(ByteView object) {
  ByteReader in(object);
  if (in.remaining() < fixed_size || as_text(in.raw(magic.size())) != magic)
    throw Error(ErrorKind::corrupt, "not an object of dbops: it does not begin with " + std::string(magic));
  if (const auto version = in.u16(); version != format_version)
    throw Error(ErrorKind::configuration, "the object has format version " + std::to_string(version) + ", not 1",
                "Use a newer version of dbops.");
  const std::size_t size = in.u16();
  if (size < fixed_size + checksum_size || size > max_object_header_size || size > object.size())
    throw Error(ErrorKind::corrupt, "the object is cut short within its header");
  const ByteView frame = object.first(size - checksum_size);
  const Digest digest = sha256(frame);
  if (!std::ranges::equal(ByteView(digest).first(checksum_size), object.subspan(frame.size(), checksum_size)))
    throw Error(ErrorKind::corrupt, "the checksum of the object's header does not match");
  return frame;
}

} // namespace

// The number, big-endian, then 1 for the last one.
GcmNonce record_nonce(std::uint64_t number, bool last) {
  GcmNonce nonce{};
  for (std::size_t i = 0; i < 8; ++i)
    nonce.at(10 - i) = std::byte(number >> (8 * i) & 0xff);
  nonce[11] = std::byte(last ? 1 : 0);
  return nonce;
}

Bytes encode_fields(const ObjectHeader& header) {
  Bytes bytes;
  ByteWriter out(bytes);
  out.raw(as_bytes(magic));
  out.u16(format_version);
  out.u16(std::uint16_t(header.size));
  out.u8(std::uint8_t(header.kind));
  out.u8(std::uint8_t(header.codec));
  out.u8(std::uint8_t(header.cipher));
  out.u8(0);
  out.u64(header.plaintext_size);
  out.raw(header.digest);
  out.u64(header.system_identifier);
  out.u64(std::uint64_t(header.created.time_since_epoch().count()));
  out.u32(header.record_size);
  out.text16(header.name);
  out.text16(header.origin);
  out.text16(header.key_id);
  return bytes;
}

std::size_t encoded_size(const ObjectHeader& header) {
  const std::size_t key = header.cipher == Cipher::none ? 0 : GcmNonce().size() + wrapped_key_size;
  return fixed_size + 3 * sizeof(std::uint16_t) + header.name.size() + header.origin.size() + header.key_id.size() +
         key + checksum_size;
}

void append_checksum(Bytes& header) {
  const Digest digest = sha256(header);
  append(header, ByteView(digest).first(checksum_size));
}

ParsedHeader parse_header(ByteView object) {
  const ByteView frame = checked_frame(object);
  ParsedHeader parsed;
  ObjectHeader& header = parsed.header;
  header.size = frame.size() + checksum_size;
  ByteReader in(frame.subspan(magic.size() + 2 * sizeof(std::uint16_t)));
  header.kind = ObjectKind(in.u8());
  header.codec = known(in.u8(), Codec::zstd, "codec");
  header.cipher = known(in.u8(), Cipher::aes_256_gcm, "cipher");
  if (in.u8() != 0) throw Error(ErrorKind::configuration, "the object has flags that this version does not know");
  header.plaintext_size = in.u64();
  std::ranges::copy(in.raw(header.digest.size()), header.digest.begin());
  header.system_identifier = in.u64();
  header.created = WallTime(std::chrono::microseconds(std::int64_t(in.u64())));
  header.record_size = in.u32();
  header.name = in.text16();
  header.origin = in.text16();
  header.key_id = in.text16();
  parsed.authenticated = frame.first(frame.size() - in.remaining());
  if (header.cipher != Cipher::none) {
    parsed.nonce = in.raw(GcmNonce().size());
    parsed.wrapped_key = in.raw(wrapped_key_size);
    if (header.record_size == 0 || header.record_size > max_record_size)
      throw Error(ErrorKind::corrupt, "the object's record size is out of range");
  }
  if (in.remaining() != 0) throw Error(ErrorKind::corrupt, "the object's header is longer than its fields");
  return parsed;
}

std::optional<std::size_t> header_size(ByteView start) {
  constexpr std::size_t size_offset = 10;
  if (start.size() < size_offset + sizeof(std::uint16_t)) return {};
  return ByteReader(start.subspan(size_offset)).u16();
}

AesKey unwrap_key(const ParsedHeader& parsed, const EncryptionKey& key) {
  GcmNonce nonce{};
  std::ranges::copy(parsed.nonce, nonce.begin());
  Bytes plain;
  if (!AesGcm(key.wrap()).open(nonce, parsed.authenticated, parsed.wrapped_key, plain))
    throw Error(ErrorKind::key_wrong, "key \"" + key.id() + "\" does not open object \"" + parsed.header.name + "\"",
                "The key file has another key under this id than the one that the object was written with.");
  AesKey object_key{};
  std::ranges::copy(plain, object_key.begin());
  OPENSSL_cleanse(plain.data(), plain.size());
  return object_key;
}

const EncryptionKey& key_for(const ObjectHeader& header, const KeyRing* keys) {
  if (keys == nullptr)
    throw Error(ErrorKind::key_missing,
                "object \"" + header.name + "\" is encrypted with key \"" + header.key_id +
                    "\", and no key file is set",
                "Set dbops.key_file, DBOPS_KEY_FILE or --key-file.");
  return keys->get(header.key_id);
}

ObjectHeader parse_object_header(ByteView object) {
  return parse_header(object).header;
}

ContentDigest::ContentDigest(const ObjectHeader& header, const KeyRing* keys) {
  if (header.cipher == Cipher::none)
    plain_.emplace();
  else
    keyed_.emplace(key_for(header, keys).digest());
}

void ContentDigest::update(ByteView bytes) {
  plain_ ? plain_->update(bytes) : keyed_->update(bytes);
}

Digest ContentDigest::finish() {
  return plain_ ? plain_->finish() : keyed_->finish();
}

} // namespace dbops::core
