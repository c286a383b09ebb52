// Gets WAL files out of a store, for recovery.
#pragma once

#include "core/store/object_store.h"
#include "core/wal/layout.h"
#include "core/wal/object_format.h"
#include "core/wal/restore_plan.h"
#include "core/wal/timeline_history.h"

#include <atomic>

namespace dbops::core {

enum class WalFetchResult {
  whole,  // the file as it was archived
  padded, // the last segment of its timeline: what was streamed of it, and zeros up to the segment size. Nothing but
          // zeros when its timeline begins right at its start and nothing of it was shipped: without the file
          // PostgreSQL would go on with the parent's segment of that number, which is behind the switch.
  absent, // the store says authoritatively that it has nothing of the file, nor anything later on its timeline
  gap, // not there or not whole, although later WAL of its timeline is, or a timeline that goes on from a later point
       // of it: recovery must not end here unnoticed
};

struct WalFetch {
  WalFetchResult result = WalFetchResult::absent;
  std::uint64_t covered = 0; // of a padded segment: bytes that are not padding
  // Of a gap that is one for the segment's own pieces alone, one of which is not there: where the last of them ends.
  // Who has the segment up to that has no gap.
  std::uint64_t pieces_to = 0;
};

// What to make of a segment that is not whole although there is WAL behind it.
enum class AtHole {
  report, // gap
  // When it is what a crash leaves of uploads that overtook each other: there are at most `segments_in_flight` segments
  // behind it, stored within `overtaking_time`, and no other timeline goes on from a later point of this one. Pieces of
  // one segment do not overtake each other. Nobody can replay what is behind it, so WAL ends here: padded or absent.
  // For a reader that was given the segment size.
  end,
  // Whatever made it: somebody has said so.
  end_always,
};

// Whole segments of a timeline that a server may have stored before an earlier one: more than its look-ahead.
constexpr std::size_t segments_in_flight = 256;

// Between the first and the last thing that was stored behind a segment on its way: dbops.upload_timeout by default,
// and a minute for the pause before the next try. For a segment of 16 MiB; larger ones take longer.
constexpr auto overtaking_time = std::chrono::minutes(3);
constexpr std::uint64_t usual_segment_size = 16 << 20;

// What is behind a hole, and what there is of the segment itself.
struct LaterWal {
  std::size_t pieces = 0;      // of the segment
  std::uint64_t pieces_to = 0; // where the last of them ends
  std::size_t objects = 0;     // behind it
  std::string last;            // the last segment of which something is there
  WallTime modified;           // when the youngest object was stored, by the store's clock
  bool operator==(const LaterWal&) const = default;
};

class WalReader {
 public:
  // keys may be null. segment_size: of the cluster; without it, a segment in which a timeline begins is not completed
  // from the timeline before it. What is given must outlive the reader. May be used by several threads.
  WalReader(ObjectStore& store, std::uint64_t system_identifier, const KeyRing* keys,
            std::optional<SegmentSize> segment_size = {});

  // Hands the file to `sink` piece by piece. When this throws, or returns absent or gap, what the sink got must be
  // thrown away. The segment in which a timeline begins starts with WAL of the one before it, up to the point of the
  // switch and no further. As long as the store has it under the new timeline in part or not at all, it is put together
  // in the same way. Throws Error: not_found when the store holds no repository of this cluster at all (a wrong URL
  // must not end recovery), corrupt, key_missing, key_wrong, and what ObjectStore throws.
  WalFetch fetch(const WalFileName& file, const ByteSink& sink, const CallContext& context,
                 AtHole at_hole = AtHole::report);

  // Only as it was archived. False: it is not there as a whole.
  bool fetch_whole(const WalFileName& file, const ByteSink& sink, const CallContext& context);

  // The chunks of a segment that are there, by name.
  std::vector<ChunkRange> list_chunks(const WalFileName& segment, const CallContext& context);

  // Whether there is WAL of the same timeline behind the segment.
  bool has_later_wal(const WalFileName& segment, const CallContext& context);
  // all: else it is not counted to its end when there are more than `segments_in_flight` whole segments.
  LaterWal later_wal(const WalFileName& segment, bool all, const CallContext& context);

  // Whether the first `limit` bytes of the segment can be had, from whatever holds them. Reads them.
  bool has_start(const WalFileName& segment, std::uint32_t limit, const CallContext& context);

  // The ancestors of a timeline, as its history says. Absent: the store does not have that.
  std::optional<std::vector<TimelineSwitch>> history_of(TimelineId timeline, const CallContext& context);

  // For messages; without secrets.
  [[nodiscard]] std::string describe() const { return store_.describe(); }

 private:
  // The part of a segment that is the parent timeline's.
  struct Inherited {
    WalFileName segment; // of the parent
    std::uint32_t bytes = 0;
  };
  // How a segment begins that is not there as a whole.
  struct Beginning {
    std::optional<Inherited> inherited;
    RestorePlan plan;            // its own chunks, behind that; `covered` counts both
    std::uint32_t chunks_to = 0; // where the last of them ends; 0: there are none
  };
  struct Reach {
    Lsn end = 0;           // 0: no timeline branched off
    bool all_known = true; // every later timeline has its history in the store
  };
  bool fetch_object(const std::string& name, ObjectKind kind, std::uint64_t limit, const ByteSink& sink,
                    const CallContext& context);
  bool read_object(const std::string& key, ObjectDecoder& decoder, const CallContext& context);
  Bytes fetch_chunk(const WalFileName& segment, const ChunkRange& chunk, const CallContext& context);
  std::optional<SegmentSize> size_of(const WalFileName& segment, const CallContext& context);
  std::optional<Inherited> inherited(const WalFileName& segment, const CallContext& context);
  bool fetch_limited(const std::string& name, ObjectKind kind, std::uint32_t limit, const ByteSink& sink,
                     const CallContext& context);
  std::vector<std::string> list_partials(const WalFileName& segment, const CallContext& context);
  bool is_part(const std::string& name, const WalFileName& segment, std::uint32_t limit, const CallContext& context);
  std::optional<std::string> find_partial(const WalFileName& segment, std::uint32_t limit, const CallContext& context);
  Beginning find_beginning(const WalFileName& segment, std::uint32_t limit, const CallContext& context);
  std::uint64_t send_beginning(const WalFileName& segment, const Beginning& beginning, const ByteSink& sink,
                               const CallContext& context);
  std::uint64_t send_start(const WalFileName& segment, std::uint32_t limit, const ByteSink& sink,
                           const CallContext& context);
  WalFetch fetch_tail(const WalFileName& segment, const ByteSink& sink, const CallContext& context, AtHole at_hole);
  WalFetch fetch_partial(const WalFileName& segment, std::uint64_t reach, SegmentSize size, const ByteSink& sink,
                         const CallContext& context);
  Reach reach_of(TimelineId timeline, const CallContext& context);
  std::optional<WallTime> created_at(const std::string& key, const CallContext& context);
  bool is_overtaken(const WalFileName& segment, std::uint64_t segment_size, const CallContext& context);
  ListRequest behind(const WalFileName& segment) const;
  void require_repository(const CallContext& context);

  ObjectStore& store_;
  std::uint64_t system_identifier_;
  const KeyRing* keys_;
  std::optional<SegmentSize> segment_size_;
  std::atomic<bool> repository_seen_{false};
};

} // namespace dbops::core
