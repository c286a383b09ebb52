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
  // Throws Error(conflict) naming both servers when the name is taken by other content; Error(not_found) when there is
  // no file; and what ObjectStore throws.
  WalPutReport put_file(const WalFileName& file, const std::filesystem::path& path, const CallContext& context);

  // bytes: [range.from, range.to) of the segment. Throws as put_file().
  WalPutReport put_chunk(const WalFileName& segment, const ChunkRange& range, ByteView bytes,
                         const CallContext& context);

 private:
  // Gives the plaintext, from the start each time it is called.
  using Source = std::function<void(const ByteSink&)>;
  WalPutReport put(const std::string& name, ObjectKind kind, std::uint64_t size, const Source& source,
                   const CallContext& context);
  void require_same_content(const std::string& key, const Source& source, const CallContext& context) const;
  void read_pieces(const File& file, std::uint64_t size, const std::filesystem::path& path, const ByteSink& sink);

  ObjectStore& store_;
  const Clock& clock_;
  WalWriterOptions options_;
  ObjectEncoder encoder_;
  Bytes buffer_;
};

} // namespace dbops::core
