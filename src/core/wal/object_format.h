// The envelope of every object in a repository: header, compression, encryption, digest. Specified in docs/format.md.
#pragma once

#include "core/base/clock.h"
#include "core/base/random.h"
#include "core/codec/zstd.h"
#include "core/crypto/aead.h"
#include "core/crypto/hash.h"
#include "core/crypto/key_file.h"

#include <functional>
#include <optional>
#include <string>

namespace dbops::core {

enum class ObjectKind : std::uint8_t {
  wal_segment = 1,
  wal_partial = 2,
  wal_history = 3,
  wal_backup_label = 4,
  wal_chunk = 5,
  pack = 6,            // blocks of backups
  backup_files = 7,    // a part of a backup's list of files
  backup_packs = 8,    // a part of a backup's list of packs
  backup_head = 9,     // what makes a backup one
  backup_event = 10,   // what happened to a backup: begun, pinned, verified, ...
  dump_piece = 11,     // of what pg_dump wrote
  dump_head = 12,      // what makes a dump one
  backup_summary = 13, // what the catalogue of backups says
};

enum class Codec : std::uint8_t { none = 0, zstd = 1 };
enum class Cipher : std::uint8_t { none = 0, aes_256_gcm = 1 };

struct ObjectHeader {
  ObjectKind kind = ObjectKind::wal_segment;
  Codec codec = Codec::zstd;
  Cipher cipher = Cipher::none;
  std::uint64_t plaintext_size = 0; // bytes
  // SHA-256 of the plaintext; HMAC-SHA-256 under the key's digest key when encrypted, so that nobody without the key
  // can confirm a guess of the content.
  Digest digest{};
  std::uint64_t system_identifier = 0;
  WallTime created;
  std::uint32_t record_size = 0; // plaintext bytes of an encrypted record; 0 without a cipher
  std::string name;              // key below the system identifier
  std::string origin;            // who wrote it, for messages
  std::string key_id;            // empty without a cipher
  std::size_t size = 0;          // of the encoded header, bytes: where the payload begins
};

// An encoded header is never longer.
constexpr std::size_t max_object_header_size = 4096;

// What distinguishes one object from another when it is written.
struct ObjectIdentity {
  ObjectKind kind = ObjectKind::wal_segment;
  std::uint64_t system_identifier = 0;
  std::string name;
  std::string origin; // at most 512 bytes are kept
};

struct EncodingOptions {
  Codec codec = Codec::zstd;
  int compression_level = 3;     // 1..19
  const KeyRing* keys = nullptr; // null: not encrypted
  // Plaintext bytes of an encrypted record: what has to be read at least to get at any of them. At most 64 MiB.
  std::uint32_t record_size = 1 << 20;
};

// Makes one object from plaintext that comes in pieces. One encoder may make many objects, one after another; it keeps
// the compressor's memory. Not for use by several threads at once.
class ObjectEncoder {
 public:
  // random, options.keys: must outlive the encoder.
  ObjectEncoder(const EncodingOptions& options, Random& random);
  ~ObjectEncoder();
  ObjectEncoder(const ObjectEncoder&) = delete;
  ObjectEncoder& operator=(const ObjectEncoder&) = delete;

  // plaintext_size: exactly what will be written. payload: is given what follows the header. The header comes last, as
  // it says what all the rest is; its size is returned here.
  std::size_t begin(ObjectIdentity identity, std::uint64_t plaintext_size, WallTime created, ByteSink payload);
  void write(ByteView plaintext);
  // Returns the header, which goes in front. Throws std::logic_error when the size announced was not met.
  Bytes finish();

 private:
  struct Object;
  void add_payload(ByteView bytes);
  EncodingOptions options_;
  Random& random_;
  ZstdEncoder zstd_;
  std::unique_ptr<Object> object_;
};

// All in one call.
Bytes encode_object(ObjectEncoder& encoder, ObjectIdentity identity, ByteView plaintext, WallTime created);

// object: the first bytes of an object, at least max_object_header_size or all of it. Throws Error(corrupt), or
// Error(configuration) for a format version, codec or cipher that this program does not know.
ObjectHeader parse_object_header(ByteView object);

// Reads one object that comes in pieces, in memory that does not depend on its size.
class ObjectDecoder {
 public:
  // Told of the header before any plaintext is given out; may throw.
  using HeaderCheck = std::function<void(const ObjectHeader&)>;

  // limit: largest plaintext accepted, bytes. keys may be null, and must outlive the decoder. check may be empty.
  // The digest is known only at the end: until finish() returns, the caller must not give to anyone what sink got.
  // Each call throws Error: corrupt, configuration, key_missing, key_wrong.
  ObjectDecoder(const KeyRing* keys, std::uint64_t limit, ByteSink sink, HeaderCheck check = {});
  ~ObjectDecoder();
  ObjectDecoder(const ObjectDecoder&) = delete;
  ObjectDecoder& operator=(const ObjectDecoder&) = delete;

  void write(ByteView piece);
  // The object has ended. Returns its header; all that sink got is verified now.
  ObjectHeader finish();

 private:
  struct Object;
  void take_header(bool is_all);
  void take_payload(ByteView bytes);
  void take_records(ByteView bytes);
  void open_record(bool last);
  void decompress(ByteView bytes);
  void take_plaintext(ByteView bytes);
  const KeyRing* keys_;
  std::uint64_t limit_;
  ByteSink sink_;
  HeaderCheck check_;
  Bytes pending_; // of the header, then of the record that is being filled
  std::unique_ptr<Object> object_;
};

// All in one call.
ObjectHeader decode_object(ByteView object, const KeyRing* keys, std::uint64_t limit, const ByteSink& sink);

// The digest of a plaintext as an object with `header` would carry it; tells whether content is the same without
// downloading it. Throws Error(key_missing).
class ContentDigest {
 public:
  ContentDigest(const ObjectHeader& header, const KeyRing* keys);
  ContentDigest(ContentDigest&&) = default;
  void update(ByteView bytes);
  Digest finish();

 private:
  std::optional<Sha256> plain_;
  std::optional<HmacSha256> keyed_;
};

} // namespace dbops::core
