// Puts WAL files and chunks into a store.
#pragma once

#include "core/store/object_store.h"
#include "core/wal/layout.h"
#include "core/wal/object_format.h"

#include <filesystem>

namespace dbops::core {

class File;

struct WalWriterOptions {
  std::uint64_t system_identifier = 0;
  std::string origin; // this server, for the header and for messages: host, port, data directory
  EncodingOptions encoding;
};

struct WalPutReport {
  PutResult result = PutResult::created; // exists: the same content was there already
  std::uint64_t plaintext_size = 0;      // bytes
  std::uint64_t object_size = 0;         // bytes
};

// One for each thread: it keeps the memory of its compressor. A file is read, compressed and sent piece by piece; what
// is in memory meanwhile is up to the store (see ObjectStore::begin_upload, S3Url). All arguments must outlive it.
class WalWriter {
 public:
  WalWriter(ObjectStore& store, const Clock& clock, Random& random, WalWriterOptions options);

  // Returns when the file is durable in the store. A segment is checked first: it must have the name, the size and the
  // system identifier that its own header says.
  // A .partial file whose name is taken by other content is stored as put_remnant() does: each server that was promoted
  // within one segment has its own, and all of them are kept.
  // Throws Error(conflict) naming both servers when the name is taken by other content; WalFileGone when there is no
  // file; and what ObjectStore throws.
  WalPutReport put_file(const WalFileName& file, const std::filesystem::path& path, const CallContext& context);

  // A segment, or a .partial, of which only the beginning is WAL: under remnant_key(), which its content determines.
  WalPutReport put_remnant(const WalFileName& file, const std::filesystem::path& path, const CallContext& context);

  // Whether the file is there, with the same content, without sending it. Throws as put_file().
  bool is_stored(const WalFileName& file, const std::filesystem::path& path, const CallContext& context);

  // bytes: [range.from, range.to) of the segment. Throws as put_file().
  WalPutReport put_chunk(const WalFileName& segment, const ChunkRange& range, ByteView bytes,
                         const CallContext& context);

 private:
  // Gives the plaintext, from the start each time it is called.
  using Source = std::function<void(const ByteSink&)>;
  struct Content {
    std::uint64_t size = 0; // bytes
    Source source;
  };
  // Not the same content: the name is taken by another one, whose header is `theirs`.
  struct Attempt {
    WalPutReport report;
    std::optional<ObjectHeader> theirs;
  };
  File open_checked(const WalFileName& file, const std::filesystem::path& path) const;
  Content content_of(const File& file, const std::filesystem::path& path);
  Attempt try_put(const std::string& name, ObjectKind kind, const Content& content, const CallContext& context);
  WalPutReport put(const std::string& name, ObjectKind kind, const Content& content, const CallContext& context);
  WalPutReport put_remnant(const WalFileName& file, const Content& content, const CallContext& context);
  [[nodiscard]] std::optional<ObjectHeader> header_of_other(const std::string& key, const Source& source,
                                                            const CallContext& context) const;
  [[noreturn]] void refuse(const std::string& name, const ObjectHeader& theirs) const;
  [[nodiscard]] Digest digest_of(const Source& source) const;
  void read_pieces(const File& file, std::uint64_t size, const std::filesystem::path& path, const ByteSink& sink);

  ObjectStore& store_;
  const Clock& clock_;
  WalWriterOptions options_;
  ObjectEncoder encoder_;
  Bytes buffer_;
};

} // namespace dbops::core
