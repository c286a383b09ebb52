#include "core/wal/wal_shipper.h"

#include "core/base/file.h"
#include "core/wal/page_header.h"
#include "core/wal/wal_file.h"
#include "core/wal/wal_reader.h"

#include <algorithm>

namespace dbops::core {

namespace {

// Of those that are not archived yet, the oldest: one request each, when a process begins.
constexpr SegmentNumber segments_to_verify = 64;

WalWriterOptions with_keys(WalWriterOptions options, const KeyRing* keys) {
  options.encoding.keys = keys;
  return options;
}

} // namespace

WalShipper::WalShipper(ShipperSetup setup)
    : setup_(std::move(setup)),
      writer_(*setup_.store, setup_.clock, setup_.random, with_keys(setup_.writer, setup_.keys.get())) {}

CallContext WalShipper::bounded(const CallContext& context) const {
  const SteadyTime end = setup_.clock.steady_now() + setup_.timeout;
  return {.stop = context.stop, .deadline = std::min(context.deadline.value_or(end), end)};
}

Bytes WalShipper::read(const Segment& segment, const ChunkRange& range) const {
  const std::filesystem::path path = setup_.directory / segment.name.name;
  const File file = open_wal_file(path);
  Bytes bytes(range.to - range.from);
  const bool whole = file.read_at(range.from, bytes) == bytes.size();
  require_not_recycled(file, path);
  if (!whole) throw Error(ErrorKind::io, "file \"" + path.string() + "\" is shorter than what was flushed to it");
  if (range.from == 0) check_segment(bytes, file.size(), setup_.writer.system_identifier, segment.name.segment);
  return bytes;
}

void WalShipper::put(Segment& segment, const ChunkRange& range, const CallContext& context) {
  const CallContext limited = bounded(context);
  setup_.fence->require_ours(segment.id.timeline, limited);
  const Bytes bytes = read(segment, range);
  const WalPutReport report = writer_.put_chunk(segment.name, range, bytes, limited);
  segment.schedule.shipped(range);
  counters_.bytes += report.plaintext_size;
  counters_.object_bytes += report.object_size;
}

void WalShipper::ship(Segment& segment, std::uint64_t flushed, const CallContext& context) {
  while (const auto range = segment.schedule.next(flushed)) {
    put(segment, *range, context);
    ++counters_.chunks;
    publish(segment);
  }
}

// A segment begins a new range, unless the one before is covered to its end.
void WalShipper::publish(const Segment& segment) {
  const Lsn start = setup_.segment_size.start_of(segment.id.number);
  const bool goes_on = shipped_.timeline == segment.id.timeline && shipped_.from <= start && shipped_.to >= start;
  if (!goes_on) shipped_ = {.timeline = segment.id.timeline, .from = start, .to = start};
  shipped_.to = std::max(shipped_.to, start + segment.schedule.covered());
}

void WalShipper::verify_pieces(const Segment& segment, const std::vector<ChunkRange>& chunks,
                               const CallContext& context) {
  require_same_pieces(
      {.store = *setup_.store, .system_identifier = setup_.writer.system_identifier, .keys = setup_.keys.get()},
      segment.name, chunks, [&](const ChunkRange& range) { return read(segment, range); }, context);
}

// A server that was set back, and has left the segment where that shows, has diverged all the same: as long as the
// archiver has not stored that segment, which it will not.
void WalShipper::verify_unarchived(const SegmentId& before, const ShipTarget& target, const CallContext& context) {
  WalReader reader(*setup_.store, setup_.writer.system_identifier, setup_.keys.get());
  const SegmentNumber first = setup_.segment_size.segment_of(target.archived);
  const SegmentNumber end = std::min(before.number, first + segments_to_verify);
  for (SegmentNumber number = first; number < end; ++number) {
    const SegmentId id{.timeline = before.timeline, .number = number};
    const Segment segment{.id = id,
                          .name = *parse_wal_file_name(segment_name(id, setup_.segment_size)),
                          .schedule = ChunkSchedule(setup_.segment_size)};
    try {
      verify_pieces(segment, reader.list_chunks(segment.name, context), context);
    } catch (const WalFileGone&) {
      continue; // it was archived meanwhile, and recycled
    }
  }
}

void WalShipper::require_nothing_later(const Segment& segment, const ShipTarget& target, const CallContext& context) {
  WalReader reader(*setup_.store, setup_.writer.system_identifier, setup_.keys.get());
  const std::string key = cluster_prefix(setup_.writer.system_identifier) + wal_file_key(segment.name);
  if (reader.has_later_wal(segment.name, context) || setup_.store->head(key, context))
    throw Diverged(setup_.store->describe() + " has WAL of timeline " + std::to_string(target.timeline) +
                       " that this server, at " + to_string(target.flushed) + ", has not written yet",
                   setup_.segment_size.start_of(segment.id.number + 1));
}

WalShipper::Segment WalShipper::open_segment(const SegmentId& id, const ShipTarget& target,
                                             const CallContext& context) {
  const CallContext limited = bounded(context);
  Segment segment{.id = id,
                  .name = *parse_wal_file_name(segment_name(id, setup_.segment_size)),
                  .schedule = ChunkSchedule(setup_.segment_size)};
  setup_.fence->require_ours(id.timeline, limited);
  require_nothing_later(segment, target, limited);
  WalReader reader(*setup_.store, setup_.writer.system_identifier, setup_.keys.get());
  const std::vector<ChunkRange> chunks = reader.list_chunks(segment.name, limited);
  const Lsn start = setup_.segment_size.start_of(id.number);
  for (const ChunkRange& chunk : chunks)
    if (start + chunk.to > target.flushed)
      throw Diverged(setup_.store->describe() + " has WAL of timeline " + std::to_string(id.timeline) + " up to " +
                         to_string(start + chunk.to) + ", this server only up to " + to_string(target.flushed),
                     start + chunk.to);
  verify_pieces(segment, chunks, limited);
  for (const ChunkRange& chunk : chunks)
    setup_.store->make_durable(cluster_prefix(setup_.writer.system_identifier) + chunk_key(segment.name, chunk),
                               limited);
  verify_unarchived(id, target, limited);
  segment.schedule.restart(chunks);
  return segment;
}

// The end of a segment is in the whole segment that the archiver stores. When that takes long, the shipper sees to it.
void WalShipper::finish_previous(const ShipTarget& target, const CallContext& context) {
  if (!previous_) return;
  const Lsn end = setup_.segment_size.start_of(previous_->id.number + 1);
  const bool near = setup_.segment_size.segment_of(target.flushed) <= previous_->id.number + 2;
  if (target.archived >= end || previous_->id.timeline != target.timeline || !near) {
    previous_.reset();
    return;
  }
  const SteadyTime now = setup_.clock.steady_now();
  if (!previous_->ended) previous_->ended = now;
  if (now - *previous_->ended < setup_.patience) return;
  ship(*previous_, setup_.segment_size.bytes(), context);
  previous_.reset();
  if (current_ && current_->schedule.covered() > 0) publish(*current_);
}

void WalShipper::advance(const ShipTarget& target, const CallContext& context) {
  const SegmentId wanted{.timeline = target.timeline, .number = setup_.segment_size.segment_of(target.flushed)};
  const auto flushed = std::uint64_t(target.flushed - setup_.segment_size.start_of(wanted.number));
  finish_previous(target, context);
  const bool known = current_ && current_->id.timeline == wanted.timeline && current_->id.number < wanted.number;
  if ((flushed == 0 && !known) || target.flushed <= target.archived) return;
  if (!current_ || current_->id != wanted) {
    if (known) {
      // What this process has followed from the start needs no look into the store.
      previous_ = std::move(current_);
      current_ = Segment{.id = wanted,
                         .name = *parse_wal_file_name(segment_name(wanted, setup_.segment_size)),
                         .schedule = ChunkSchedule(setup_.segment_size)};
    } else {
      previous_.reset();
      current_.reset();
      current_ = open_segment(wanted, target, context);
      publish(*current_);
    }
    finish_previous(target, context);
  }
  ship(*current_, flushed, context);
  while (const auto merge = current_->schedule.next_merge()) {
    put(*current_, *merge, context);
    ++counters_.merges;
  }
}

} // namespace dbops::core
