#include "core/wal/divergence.h"

#include "core/wal/object_format.h"

#include <algorithm>
#include <limits>

namespace dbops::core {

Diverged::Diverged(const std::string& message, Lsn seen)
    : Error(ErrorKind::conflict, message,
            "The data directory was set back (a snapshot, a lying disk, pg_resetwal), or another server has written. "
            "Nothing is overwritten. Restore the data directory to a new timeline, or give this server a store of its "
            "own."),
      seen_(seen) {}

// The piece that reaches farthest was written last. Whatever happened to the WAL before, its bytes show it: a history
// that was set back and went on differently differs there. Zeros are no history: what is behind a switch of segments.
void require_same_pieces(const StreamedWal& streamed, const WalFileName& segment, std::vector<ChunkRange> pieces,
                         const LocalBytes& local, const CallContext& context) {
  std::ranges::sort(pieces, std::greater(), &ChunkRange::to);
  for (const ChunkRange& piece : pieces) {
    const std::string key = cluster_prefix(streamed.system_identifier) + chunk_key(segment, piece);
    const auto start = streamed.store.get(key, {.offset = 0, .length = max_object_header_size}, context);
    if (!start)
      throw Error(ErrorKind::unavailable,
                  "object \"" + key + "\" of " + streamed.store.describe() + " vanished since it was listed");
    const ObjectHeader theirs = parse_object_header(*start);
    const Bytes bytes = local(piece);
    ContentDigest ours(theirs, streamed.keys);
    ours.update(bytes);
    if (ours.finish() != theirs.digest)
      throw Diverged("the WAL of this server differs from what " + streamed.store.describe() + " has of segment " +
                         segment.segment + ", bytes " + std::to_string(piece.from) + " to " + std::to_string(piece.to),
                     std::numeric_limits<Lsn>::max());
    if (std::ranges::any_of(bytes, [](std::byte byte) { return byte != std::byte(0); })) return;
  }
}

bool StreamedBefore::has_pieces(const StreamedWal& streamed, const WalFileName& segment, const CallContext& context) {
  const std::lock_guard lock(mutex_);
  const auto known = looks_.find(segment.timeline);
  if (known != looks_.end() && known->second.from <= segment.segment)
    return known->second.segments.contains(segment.segment);
  const std::string root = cluster_prefix(streamed.system_identifier);
  Look look{.from = segment.segment, .segments = {}};
  ListRequest request;
  request.prefix = root + "wal/" + segment.timeline + "/";
  request.start_after = root + chunk_prefix(segment);
  do {
    ListPage page = streamed.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      if (const auto key = parse_wal_key(std::string_view(object.key).substr(root.size())); key && key->chunk)
        look.segments.insert(key->file.segment);
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  const bool has = look.segments.contains(segment.segment);
  // What came since the first look is this server's own.
  if (known == looks_.end()) looks_.emplace(segment.timeline, std::move(look));
  return has;
}

} // namespace dbops::core
