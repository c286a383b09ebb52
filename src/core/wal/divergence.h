// Two histories of one timeline: the bytes that were streamed are not those that this server has.
#pragma once

#include "core/base/error.h"
#include "core/crypto/key_file.h"
#include "core/store/object_store.h"
#include "core/wal/layout.h"

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <vector>

namespace dbops::core {

// Nothing can be stored until an operator has decided.
class Diverged : public Error {
 public:
  // seen: the repository has WAL at least up to here. A server that has come this far since its target was taken has
  // not diverged: what was seen is its own. The highest value: the bytes differ.
  Diverged(const std::string& message, Lsn seen);
  [[nodiscard]] Lsn seen() const noexcept { return seen_; }

 private:
  Lsn seen_;
};

// A repository as it is compared with.
struct StreamedWal {
  ObjectStore& store;
  std::uint64_t system_identifier = 0;
  const KeyRing* keys = nullptr;
};

// The bytes of a piece of the segment as this server has them.
using LocalBytes = std::function<Bytes(const ChunkRange&)>;

// Compares what this server has of a segment with the pieces of it that are in the store. Throws Diverged, and what
// ObjectStore and `local` throw.
void require_same_pieces(const StreamedWal& streamed, const WalFileName& segment, std::vector<ChunkRange> pieces,
                         const LocalBytes& local, const CallContext& context);

// The segments of which there were pieces when this process first looked: what was streamed before it, maybe from
// another history. Used by any number of threads.
class StreamedBefore {
 public:
  // Asks the store once for each timeline, and again for a segment before the one it was asked for first.
  bool has_pieces(const StreamedWal& streamed, const WalFileName& segment, const CallContext& context);

 private:
  struct Look {
    std::string from; // segment
    std::set<std::string> segments;
  };
  std::mutex mutex_;                  // held during the request: one serves all threads
  std::map<std::string, Look> looks_; // by timeline
};

} // namespace dbops::core
