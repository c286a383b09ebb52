// Ships the WAL of the unfinished segment into one repository, piece by piece.
#pragma once

#include "core/crypto/key_file.h"
#include "core/wal/chunk_schedule.h"
#include "core/wal/divergence.h"
#include "core/wal/fence.h"
#include "core/wal/wal_writer.h"

#include <memory>

namespace dbops::core {

struct ShipperSetup {
  std::shared_ptr<ObjectStore> store;
  std::shared_ptr<TimelineFence> fence;
  std::shared_ptr<const KeyRing> keys; // null: not encrypted
  Clock& clock;                        // these two must outlive the process: a thread may be left behind
  Random& random;
  WalWriterOptions writer;         // its keys are set by the shipper
  std::filesystem::path directory; // pg_wal
  SegmentSize segment_size = SegmentSize(16 << 20);
  // What is left of a segment that has ended is the archiver's; after this time the shipper ships it after all.
  milliseconds patience = milliseconds(1500);
  milliseconds timeout = milliseconds(60000); // for one chunk, retries included
};

// Where the server is.
struct ShipTarget {
  TimelineId timeline = 0;
  Lsn flushed = 0;  // on this server's disk: nothing beyond it is read
  Lsn archived = 0; // everything before it is in this repository as whole segments, as far as is known
};

// [from, to) of the timeline is in the repository in chunks, without a gap.
struct ShippedRange {
  TimelineId timeline = 0;
  Lsn from = 0, to = 0;
};

struct ShipperCounters {
  std::uint64_t chunks = 0, merges = 0, bytes = 0, object_bytes = 0;
};

// For one thread at a time. Where it is, it knows from the store alone: a new one begins by listing.
class WalShipper {
 public:
  explicit WalShipper(ShipperSetup setup);

  // Brings the repository as near to the target as one call can: all of the unfinished segment, then the merges that
  // are due. Makes no request when there is nothing new. Throws Diverged, Error(conflict) when the timeline is another
  // instance's, and what ObjectStore throws; then `shipped` says how far it came.
  void advance(const ShipTarget& target, const CallContext& context);

  // The end of the segment before is not known to be there: there is something to do although nothing is new.
  [[nodiscard]] bool pending() const noexcept { return previous_.has_value(); }
  [[nodiscard]] const ShippedRange& shipped() const noexcept { return shipped_; }
  [[nodiscard]] const ShipperCounters& counters() const noexcept { return counters_; }

 private:
  struct Segment {
    SegmentId id;
    WalFileName name;
    ChunkSchedule schedule;
    std::optional<SteadyTime> ended = {}; // when it was first seen to be complete
  };

  Segment open_segment(const SegmentId& id, const ShipTarget& target, const CallContext& context);
  void verify_pieces(const Segment& segment, const std::vector<ChunkRange>& chunks, const CallContext& context);
  void verify_unarchived(const SegmentId& before, const ShipTarget& target, const CallContext& context);
  void require_nothing_later(const Segment& segment, const ShipTarget& target, const CallContext& context);
  void ship(Segment& segment, std::uint64_t flushed, const CallContext& context);
  void put(Segment& segment, const ChunkRange& range, const CallContext& context);
  void finish_previous(const ShipTarget& target, const CallContext& context);
  void publish(const Segment& segment);
  Bytes read(const Segment& segment, const ChunkRange& range) const;
  [[nodiscard]] CallContext bounded(const CallContext& context) const;

  ShipperSetup setup_;
  WalWriter writer_;
  std::optional<Segment> previous_, current_;
  ShippedRange shipped_;
  ShipperCounters counters_;
};

} // namespace dbops::core
