// Gets WAL files out of a store, for recovery.
#pragma once

#include "core/store/object_store.h"
#include "core/wal/layout.h"
#include "core/wal/object_format.h"
#include "core/wal/restore_plan.h"

#include <atomic>

namespace dbops::core {

enum class WalFetchResult {
  whole,  // the file as it was archived
  padded, // the last segment of its timeline: what was streamed of it, and zeros up to the segment size
  absent, // the store says authoritatively that it has nothing of the file, nor anything later on its timeline
  gap,    // not there or not whole, although later WAL of its timeline is: recovery must not end here unnoticed
};

struct WalFetch {
  WalFetchResult result = WalFetchResult::absent;
  std::uint64_t covered = 0; // of a padded segment: bytes that are not padding
};

class WalReader {
 public:
  // keys may be null. All arguments must outlive the reader. May be used by several threads.
  WalReader(ObjectStore& store, std::uint64_t system_identifier, const KeyRing* keys);

  // Hands the file to `sink` piece by piece. When this throws, what the sink got must be thrown away.
  // Throws Error: not_found when the store holds no repository of this cluster at all (a wrong URL must not end
  // recovery), corrupt, key_missing, key_wrong, and what ObjectStore throws.
  WalFetch fetch(const WalFileName& file, const ByteSink& sink, const CallContext& context);
  // For messages; without secrets.
  [[nodiscard]] std::string describe() const { return store_.describe(); }

  // The chunks of a segment that are there, by name.
  std::vector<ChunkRange> list_chunks(const WalFileName& segment, const CallContext& context);

  // Whether there is WAL of the same timeline behind the segment.
  bool has_later_wal(const WalFileName& segment, const CallContext& context);

 private:
  bool fetch_object(const std::string& name, ObjectKind kind, std::uint64_t limit, const ByteSink& sink,
                    const CallContext& context);
  Bytes read_object(const std::string& key, Bytes start, const CallContext& context);
  WalFetch fetch_chunks(const WalFileName& segment, const std::vector<ChunkRange>& chunks, const ByteSink& sink,
                        const CallContext& context);
  Bytes fetch_chunk(const WalFileName& segment, const ChunkRange& chunk, const CallContext& context);
  void require_repository(const CallContext& context);

  ObjectStore& store_;
  std::uint64_t system_identifier_;
  const KeyRing* keys_;
  std::atomic<bool> repository_seen_{false};
};

} // namespace dbops::core
