#include "core/wal/object_format.h"

#include "core/base/error.h"

#include <algorithm>
#include <openssl/crypto.h>

namespace dbops::core {

namespace {

constexpr std::string_view magic = "DBOPSOBJ";
constexpr std::uint16_t format_version = 1;
constexpr std::size_t fixed_size = 76; // up to the first text field
constexpr std::size_t checksum_size = 8;
constexpr std::size_t wrapped_key_size = 32 + gcm_tag_size;
constexpr std::size_t max_origin = 512;
constexpr std::uint32_t default_record_size = 1 << 20;
constexpr std::uint32_t max_record_size = 1 << 26;

// Every record of an object has its own nonce under the object's own key: number, big-endian, then 1 for the last one.
GcmNonce record_nonce(std::uint64_t number, bool last) {
  GcmNonce nonce{};
  for (std::size_t i = 0; i < 8; ++i)
    nonce.at(10 - i) = std::byte(number >> (8 * i) & 0xff);
  nonce[11] = std::byte(last ? 1 : 0);
  return nonce;
}

// The header up to the key, which is what the wrapping of the key authenticates.
Bytes encode_fields(const ObjectHeader& header, std::size_t header_size) {
  Bytes bytes;
  ByteWriter out(bytes);
  out.raw(as_bytes(magic));
  out.u16(format_version);
  out.u16(std::uint16_t(header_size));
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

// The header and, for an encrypted object, what its key needs to be unwrapped.
struct ParsedHeader {
  ObjectHeader header;
  ByteView authenticated; // all fields in front of the nonce
  ByteView nonce, wrapped_key;
};

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

ParsedHeader parse(ByteView object) {
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
                "Set dbops.key_file or DBOPS_KEY_FILE.");
  return keys->get(header.key_id);
}

// Decrypts record by record into `sink`.
void decrypt_records(ByteView payload, const ObjectHeader& header, AesGcm& cipher, const ByteSink& sink) {
  const std::size_t sealed_size = header.record_size + gcm_tag_size;
  Bytes plain;
  for (std::uint64_t number = 0;; ++number) {
    const ByteView record = payload.first(std::min(payload.size(), sealed_size));
    payload = payload.subspan(record.size());
    const bool last = payload.empty();
    plain.clear();
    if (!cipher.open(record_nonce(number, last), {}, record, plain))
      throw Error(ErrorKind::corrupt, "record " + std::to_string(number) + " of object \"" + header.name +
                                          "\" is damaged: its authentication tag does not match");
    sink(plain);
    if (last) return;
  }
}

} // namespace

struct ObjectEncoder::Object {
  ObjectHeader header;
  std::optional<ContentDigest> digest;
  std::uint64_t written = 0;
  AesKey key{};
  std::optional<AesGcm> cipher;
  std::uint64_t records = 0;
  Bytes pending; // payload of the record that is being filled
  Bytes out;
  ~Object() { OPENSSL_cleanse(key.data(), key.size()); }

  void seal(bool last) {
    cipher->seal(record_nonce(records++, last), {}, pending, out);
    pending.clear();
  }
};

ObjectEncoder::ObjectEncoder(const EncodingOptions& options, Random& random)
    : options_(options), random_(random), zstd_(options.compression_level) {}

ObjectEncoder::~ObjectEncoder() = default;

void ObjectEncoder::begin(ObjectIdentity identity, std::uint64_t plaintext_size, WallTime created) {
  object_ = std::make_unique<Object>();
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
    header.record_size = default_record_size;
    random_.fill(object_->key);
    object_->cipher.emplace(object_->key);
  }
  header.size = encoded_size(header);
  object_->digest.emplace(header, options_.keys);
  object_->out.resize(header.size);
  if (header.codec == Codec::zstd) zstd_.begin(plaintext_size);
}

void ObjectEncoder::add_payload(ByteView bytes) {
  Object& object = *object_;
  if (!object.cipher) {
    append(object.out, bytes);
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
  Bytes header = encode_fields(object.header, object.header.size);
  if (object.cipher) {
    GcmNonce nonce{};
    random_.fill(nonce);
    const Bytes fields = header;
    append(header, nonce);
    AesGcm(options_.keys->current().wrap()).seal(nonce, fields, object.key, header);
  }
  append_checksum(header);
  std::ranges::copy(header, object.out.begin());
  Bytes out = std::move(object.out);
  object_.reset();
  return out;
}

Bytes encode_object(ObjectEncoder& encoder, ObjectIdentity identity, ByteView plaintext, WallTime created) {
  encoder.begin(std::move(identity), plaintext.size(), created);
  encoder.write(plaintext);
  return encoder.finish();
}

ObjectHeader parse_object_header(ByteView object) {
  return parse(object).header;
}

ObjectHeader decode_object(ByteView object, const KeyRing* keys, std::uint64_t limit, const ByteSink& sink) {
  const ParsedHeader parsed = parse(object);
  const ObjectHeader& header = parsed.header;
  if (header.plaintext_size > limit)
    throw Error(ErrorKind::corrupt, "object \"" + header.name + "\" holds " + std::to_string(header.plaintext_size) +
                                        " bytes, more than the " + std::to_string(limit) + " expected");
  ContentDigest digest(header, keys);
  std::uint64_t size = 0;
  const ByteSink verify = [&](ByteView plaintext) {
    size += plaintext.size();
    if (size > header.plaintext_size)
      throw Error(ErrorKind::corrupt, "object \"" + header.name + "\" holds more than its header says");
    digest.update(plaintext);
    sink(plaintext);
  };
  std::optional<ZstdDecoder> zstd;
  if (header.codec == Codec::zstd) {
    zstd.emplace();
    zstd->begin(header.plaintext_size);
  }
  const ByteSink decompress = [&](ByteView bytes) { zstd ? zstd->write(bytes, verify) : verify(bytes); };
  const ByteView payload = object.subspan(header.size);
  if (header.cipher == Cipher::none) {
    decompress(payload);
  } else {
    AesGcm cipher(unwrap_key(parsed, key_for(header, keys)));
    decrypt_records(payload, header, cipher, decompress);
  }
  if (zstd) zstd->finish();
  if (size != header.plaintext_size || digest.finish() != header.digest)
    throw Error(ErrorKind::corrupt, "the content of object \"" + header.name + "\" does not match its digest");
  return parsed.header;
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
