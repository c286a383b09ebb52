#include "core/wal/wal_reader.h"

#include "core/base/error.h"
#include "core/wal/catalogue.h"
#include "core/wal/page_header.h"
#include "core/wal/record_walk.h"
#include "core/wal/repository.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::uint64_t read_size = 8 << 20; // bytes in one request: most compressed segments of 16 MiB
constexpr std::uint64_t max_file_size = 1 << 30;
constexpr std::uint64_t max_object_size = max_file_size + max_file_size / 8;
constexpr std::uint64_t max_history_size = 1 << 20;

// Zeros: recovery takes them for the end of WAL.
void pad(std::uint64_t bytes, const ByteSink& sink) {
  const Bytes zeros(std::size_t(std::min<std::uint64_t>(bytes, 1 << 20)));
  for (; bytes > 0; bytes -= std::min<std::uint64_t>(bytes, zeros.size()))
    sink(ByteView(zeros).first(std::size_t(std::min<std::uint64_t>(bytes, zeros.size()))));
}

TimelineId timeline_of(const WalFileName& file) {
  std::uint64_t value = 0;
  parse_hex_field(file.timeline, value);
  return TimelineId(value);
}

// A name that a segment of this size cannot have counts as the first one.
Lsn start_of(const WalFileName& segment, SegmentSize size) {
  const auto id = parse_segment_name(segment.segment, size);
  return id ? size.start_of(id->number) : 0;
}

} // namespace

WalReader::WalReader(ObjectStore& store, std::uint64_t system_identifier, const KeyRing* keys,
                     std::optional<SegmentSize> segment_size)
    : store_(store), system_identifier_(system_identifier), keys_(keys), segment_size_(segment_size) {}

// False: there is no such object.
bool WalReader::read_object(const std::string& key, ObjectDecoder& decoder, const CallContext& context) {
  for (std::uint64_t offset = 0; offset <= max_object_size;) {
    const auto piece = store_.get(key, {.offset = offset, .length = read_size}, context);
    if (!piece && offset == 0) return false;
    if (!piece) throw Error(ErrorKind::unavailable, "it vanished while it was read");
    decoder.write(*piece);
    offset += piece->size();
    if (piece->size() < read_size) return true;
  }
  throw Error(ErrorKind::corrupt, "it is larger than any WAL file");
}

bool WalReader::fetch_object(const std::string& name, ObjectKind kind, std::uint64_t limit, const ByteSink& sink,
                             const CallContext& context) {
  const std::string key = cluster_prefix(system_identifier_) + name;
  ObjectDecoder decoder(keys_, limit, sink, [&](const ObjectHeader& header) {
    if (header.name != name || header.system_identifier != system_identifier_ || header.kind != kind)
      throw Error(ErrorKind::corrupt,
                  "it was written as \"" + cluster_prefix(header.system_identifier) + header.name + "\"");
  });
  try {
    if (!read_object(key, decoder, context)) return false;
    decoder.finish();
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt) throw;
    throw Error(ErrorKind::corrupt, "object \"" + key + "\" of " + store_.describe() + ": " + error.what(),
                error.hint());
  }
}

std::vector<ChunkRange> WalReader::list_chunks(const WalFileName& segment, const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier_);
  ListRequest request;
  request.prefix = root + chunk_prefix(segment);
  std::vector<ChunkRange> chunks;
  do {
    ListPage page = store_.list(request, context);
    for (const ObjectInfo& object : page.objects)
      if (const auto key = parse_wal_key(std::string_view(object.key).substr(root.size())); key && key->chunk)
        chunks.push_back(*key->chunk);
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return chunks;
}

Bytes WalReader::fetch_chunk(const WalFileName& segment, const ChunkRange& chunk, const CallContext& context) {
  const std::string name = chunk_key(segment, chunk);
  Bytes bytes;
  const bool found = fetch_object(
      name, ObjectKind::wal_chunk, chunk.to - chunk.from, [&](ByteView piece) { append(bytes, piece); }, context);
  if (!found)
    throw Error(ErrorKind::unavailable,
                "object \"" + name + "\" of " + store_.describe() + " vanished since it was listed");
  if (bytes.size() != chunk.to - chunk.from)
    throw Error(ErrorKind::corrupt,
                "object \"" + name + "\" of " + store_.describe() + " does not have the size of its name");
  return bytes;
}

// Lists the timeline behind all that belongs to the segment itself: its chunks and its labels.
ListRequest WalReader::behind(const WalFileName& segment) const {
  const std::string root = cluster_prefix(system_identifier_);
  ListRequest request;
  request.prefix = root + "wal/" + segment.timeline + "/";
  request.start_after = root + chunk_prefix(segment);
  request.start_after.back() = '0'; // follows "/" in byte order
  return request;
}

bool WalReader::has_later_wal(const WalFileName& segment, const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier_);
  ListRequest request = behind(segment);
  request.limit = 10; // the first one decides
  do {
    ListPage page = store_.list(request, context);
    for (const ObjectInfo& object : page.objects)
      if (const auto key = parse_wal_key(std::string_view(object.key).substr(root.size()));
          key && (key->chunk || key->file.kind == WalFileKind::segment || key->file.kind == WalFileKind::partial))
        return true;
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return false;
}

LaterWal WalReader::later_wal(const WalFileName& segment, bool all, const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier_);
  ListRequest request = behind(segment);
  request.start_after.back() = '/'; // from its pieces on
  LaterWal later;
  std::size_t whole = 0;
  do {
    ListPage page = store_.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const auto key = parse_wal_key(std::string_view(object.key).substr(root.size()));
      if (!key || (!key->chunk && key->file.kind == WalFileKind::backup)) continue;
      if (key->chunk && key->file.segment == segment.segment) {
        ++later.pieces;
        later.pieces_to = std::max<std::uint64_t>(later.pieces_to, key->chunk->to);
        continue;
      }
      ++later.objects;
      later.last = key->file.segment;
      later.modified = std::max(later.modified, object.modified);
      whole += key->file.kind == WalFileKind::segment && !key->chunk ? 1 : 0;
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty() && (all || whole <= segments_in_flight));
  return later;
}

// How far the timeline reached, by the histories of those that branched off from it or from its descendants.
WalReader::Reach WalReader::reach_of(TimelineId timeline, const CallContext& context) {
  Reach reach;
  for (const TimelineId other : list_timelines(store_, system_identifier_, context)) {
    if (other <= timeline) continue;
    const auto history = history_of(other, context);
    reach.all_known &= history.has_value();
    if (!history) continue;
    for (const TimelineSwitch& ancestor : *history)
      if (ancestor.timeline == timeline) reach.end = std::max(reach.end, ancestor.end);
  }
  return reach;
}

// Whether what is behind the segment looks like uploads that had overtaken it when the server died: they are few, and
// none was there long before the last one, or the segment would have been stored meanwhile. Then it was, and is lost.
bool WalReader::is_overtaken(const WalFileName& segment, std::uint64_t segment_size, const CallContext& context) {
  const auto patience = overtaking_time * int(std::max<std::uint64_t>(1, segment_size / usual_segment_size));
  const std::string root = cluster_prefix(system_identifier_);
  ListRequest request = behind(segment);
  std::size_t whole = 0;
  std::optional<WallTime> first, last;
  std::string first_key, last_key;
  do {
    ListPage page = store_.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const auto key = parse_wal_key(std::string_view(object.key).substr(root.size()));
      if (!key || (!key->chunk && key->file.kind == WalFileKind::backup)) continue;
      first = std::min(first.value_or(object.modified), object.modified);
      last = std::max(last.value_or(object.modified), object.modified);
      if (first_key.empty()) first_key = object.key;
      last_key = object.key;
      whole += key->file.kind == WalFileKind::segment && !key->chunk ? 1 : 0;
      if (whole > segments_in_flight || *last - *first > patience) return false;
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  // A store that was copied or replicated tells when the copies were made; the objects say when they were written.
  const auto began = first_key.empty() ? std::nullopt : created_at(first_key, context);
  const auto ended = last_key.empty() ? std::nullopt : created_at(last_key, context);
  return !began || !ended || std::chrono::abs(*ended - *began) <= patience;
}

// By the clock of the server that wrote it. Absent: there is no such object any more.
std::optional<WallTime> WalReader::created_at(const std::string& key, const CallContext& context) {
  const auto start = store_.get(key, {.offset = 0, .length = max_object_header_size}, context);
  if (!start) return {};
  return parse_object_header(*start).created;
}

bool WalReader::fetch_whole(const WalFileName& file, const ByteSink& sink, const CallContext& context) {
  return fetch_object(wal_file_key(file), object_kind(file.kind), max_file_size, sink, context);
}

// Absent: it was not given, and the store has no beginning of the segment that says it.
std::optional<SegmentSize> WalReader::size_of(const WalFileName& segment, const CallContext& context) {
  if (segment_size_) return segment_size_;
  const RestorePlan plan = plan_chunks(list_chunks(segment, context), max_file_size);
  if (plan.pieces.empty()) return {};
  const Bytes bytes = fetch_chunk(segment, plan.pieces.front().chunk, context);
  const SegmentHeader header = parse_segment_header(bytes);
  check_segment(bytes, header.segment_size, system_identifier_, segment.segment);
  return SegmentSize(header.segment_size);
}

// Absent: there is no such object.
std::optional<std::vector<TimelineSwitch>> WalReader::history_of(TimelineId timeline, const CallContext& context) {
  const auto file = parse_wal_file_name(hex_field(timeline, 8) + ".history");
  Bytes text;
  const bool found = fetch_object(
      wal_file_key(*file), ObjectKind::wal_history, max_history_size, [&](ByteView piece) { append(text, piece); },
      context);
  if (!found) return {};
  return parse_timeline_history(as_text(text), timeline);
}

std::optional<WalReader::Inherited> WalReader::inherited(const WalFileName& segment, const CallContext& context) {
  const TimelineId timeline = timeline_of(segment);
  if (!segment_size_ || timeline < 2) return {};
  const auto id = parse_segment_name(segment.segment, *segment_size_);
  if (!id) return {};
  const auto ancestors = history_of(timeline, context);
  if (!ancestors || ancestors->empty() || segment_size_->segment_of(ancestors->back().end) != id->number) return {};
  return Inherited{*parse_wal_file_name(segment_name({ancestors->back().timeline, id->number}, *segment_size_)),
                   std::uint32_t(ancestors->back().end - segment_size_->start_of(id->number))};
}

// False: there is no such object. True: it has `limit` bytes at least, and these were handed on.
bool WalReader::fetch_limited(const std::string& name, ObjectKind kind, std::uint32_t limit, const ByteSink& sink,
                              const CallContext& context) {
  std::uint64_t sent = 0;
  const bool found = fetch_object(
      name, kind, max_file_size,
      [&](ByteView piece) {
        const auto wanted = piece.first(std::size_t(std::min<std::uint64_t>(piece.size(), limit - sent)));
        if (!wanted.empty()) sink(wanted);
        sent += wanted.size();
      },
      context);
  if (found && sent < limit)
    throw Error(ErrorKind::corrupt, "object \"" + name + "\" of " + store_.describe() + " is shorter than a segment");
  return found;
}

// What servers that were promoted within the segment had of it: each its own part, and the first one has the short
// name.
std::vector<std::string> WalReader::list_partials(const WalFileName& segment, const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier_);
  ListRequest request;
  request.prefix = root + wal_file_key(*parse_wal_file_name(segment.segment + ".partial"));
  std::vector<std::string> names;
  do {
    ListPage page = store_.list(request, context);
    for (const ObjectInfo& object : page.objects)
      names.push_back(object.key.substr(root.size()));
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return names;
}

// Whether the object has the WAL of the segment up to `limit`: it is what was streamed as far as that goes, and its
// records lead to that point.
bool WalReader::is_part(const std::string& name, const WalFileName& segment, std::uint32_t limit,
                        const CallContext& context) {
  const RestorePlan streamed = plan_chunks(list_chunks(segment, context), limit);
  auto piece = streamed.pieces.begin();
  Bytes known; // of the piece, from `known_at` on
  std::uint64_t at = 0, known_at = 0;
  bool same = true;
  RecordWalk walk(limit);
  const bool found = fetch_object(
      name, ObjectKind::wal_partial, max_file_size,
      [&](ByteView bytes) {
        walk.take(bytes);
        while (same && !bytes.empty() && at < streamed.covered) {
          if (at == known_at + known.size()) {
            const Bytes chunk = fetch_chunk(segment, piece->chunk, context);
            known.assign(chunk.begin() + std::ptrdiff_t(piece->skip), chunk.end());
            known_at = at;
            ++piece;
          }
          const ByteView wanted = ByteView(known).subspan(std::size_t(at - known_at));
          const std::size_t length = std::min({bytes.size(), wanted.size(), std::size_t(streamed.covered - at)});
          same = std::ranges::equal(bytes.first(length), wanted.first(length));
          bytes = bytes.subspan(length);
          at += length;
        }
      },
      context);
  return found && same && walk.reached();
}

std::optional<std::string> WalReader::find_partial(const WalFileName& segment, std::uint32_t limit,
                                                   const CallContext& context) {
  for (std::string& name : list_partials(segment, context))
    if (is_part(name, segment, limit, context)) return std::move(name);
  return {};
}

WalReader::Beginning WalReader::find_beginning(const WalFileName& segment, std::uint32_t limit,
                                               const CallContext& context) {
  const std::vector<ChunkRange> chunks = list_chunks(segment, context);
  Beginning own{.inherited = {}, .plan = plan_chunks(chunks, limit)};
  for (const ChunkRange& chunk : chunks)
    own.chunks_to = std::max(own.chunks_to, chunk.to);
  if (own.plan.covered == limit || (own.plan.covered > 0 && own.chunks_to <= own.plan.covered)) return own;
  auto parent = inherited(segment, context);
  if (!parent) return own;
  parent->bytes = std::min(parent->bytes, limit);
  RestorePlan behind = plan_chunks(chunks, limit, parent->bytes);
  if (behind.covered < own.plan.covered) return own;
  return {.inherited = std::move(parent), .plan = std::move(behind), .chunks_to = own.chunks_to};
}

// Hands on what `beginning` promises, and returns how much of it there was: the parent may lack some of its part.
std::uint64_t WalReader::send_beginning(const WalFileName& segment, const Beginning& beginning, const ByteSink& sink,
                                        const CallContext& context) {
  std::uint64_t sent = 0;
  if (beginning.inherited) {
    sent = send_start(beginning.inherited->segment, beginning.inherited->bytes, sink, context);
    if (sent < beginning.inherited->bytes) return sent;
  }
  for (const ChunkPiece& piece : beginning.plan.pieces) {
    const Bytes bytes = fetch_chunk(segment, piece.chunk, context);
    if (sent == 0) check_segment(bytes, parse_segment_header(bytes).segment_size, system_identifier_, segment.segment);
    const ByteView wanted = ByteView(bytes).subspan(piece.skip);
    const auto left = std::size_t(beginning.plan.covered - sent);
    sink(wanted.first(std::min(wanted.size(), left)));
    sent += std::min(wanted.size(), left);
  }
  return sent;
}

// Hands on the first `limit` bytes of a segment, or as many as there are, and returns how many.
std::uint64_t WalReader::send_start(const WalFileName& segment, std::uint32_t limit, const ByteSink& sink,
                                    const CallContext& context) {
  if (limit == 0 || fetch_limited(wal_file_key(segment), ObjectKind::wal_segment, limit, sink, context)) return limit;
  const Beginning beginning = find_beginning(segment, limit, context);
  if (beginning.plan.covered < limit || beginning.inherited)
    if (const auto partial = find_partial(segment, limit, context);
        partial && fetch_limited(*partial, ObjectKind::wal_partial, limit, sink, context))
      return limit;
  return send_beginning(segment, beginning, sink, context);
}

bool WalReader::has_start(const WalFileName& segment, std::uint32_t limit, const CallContext& context) {
  return send_start(
             segment, limit, [](ByteView) {}, context) == limit;
}

WalFetch WalReader::fetch_tail(const WalFileName& segment, const ByteSink& sink, const CallContext& context,
                               AtHole at_hole) {
  const auto size = size_of(segment, context);
  const auto limit = std::uint32_t(size ? size->bytes() : max_file_size);
  const Beginning beginning = find_beginning(segment, limit, context);
  const std::uint32_t covered = beginning.plan.covered;
  const Lsn start = size ? start_of(segment, *size) : 0;
  const Reach reach = size && covered < limit ? reach_of(timeline_of(segment), context) : Reach{.all_known = false};
  const bool hole = covered < limit && has_later_wal(segment, context);
  if (hole && at_hole != AtHole::end_always &&
      (at_hole == AtHole::report || !segment_size_ || !reach.all_known || !is_overtaken(segment, limit, context)))
    return {WalFetchResult::gap};
  // They are stored one after the other, so one before the last has been there; unless another timeline, which goes on
  // from behind them, has the segment up to there.
  const bool lost_piece = covered < limit && beginning.chunks_to > covered;
  if (lost_piece && at_hole != AtHole::end_always && (hole || reach.end < start + beginning.chunks_to))
    return {.result = WalFetchResult::gap, .pieces_to = hole ? 0 : beginning.chunks_to};
  if (size && reach.end > start + covered) {
    const WalFetch partial = fetch_partial(segment, reach.end - start, *size, sink, context);
    if (partial.result != WalFetchResult::gap || at_hole != AtHole::end_always) return partial;
  }
  if (covered == 0 && !beginning.inherited) return {WalFetchResult::absent};
  if (!size) return {WalFetchResult::gap}; // it was there a moment ago, and is not now
  const std::uint64_t sent = send_beginning(segment, beginning, sink, context);
  if (sent < covered && at_hole != AtHole::end_always) return {WalFetchResult::gap};
  if (sent < covered && sent == 0) return {WalFetchResult::absent};
  pad(limit - sent, sink);
  return {sent == limit ? WalFetchResult::whole : WalFetchResult::padded, sent};
}

// Another timeline goes on from behind what was streamed: its server had more, and stored that as the partial segment,
// or has not come to it yet.
WalFetch WalReader::fetch_partial(const WalFileName& segment, std::uint64_t reach, SegmentSize size,
                                  const ByteSink& sink, const CallContext& context) {
  if (reach >= size.bytes()) return {WalFetchResult::gap};
  const auto partial = find_partial(segment, std::uint32_t(reach), context);
  if (!partial || !fetch_limited(*partial, ObjectKind::wal_partial, std::uint32_t(reach), sink, context))
    return {WalFetchResult::gap};
  pad(size.bytes() - reach, sink);
  return {WalFetchResult::padded, reach};
}

WalFetch WalReader::fetch(const WalFileName& file, const ByteSink& sink, const CallContext& context, AtHole at_hole) {
  if (fetch_whole(file, sink, context)) return {WalFetchResult::whole};
  WalFetch fetched{WalFetchResult::absent};
  if (file.kind == WalFileKind::segment) fetched = fetch_tail(file, sink, context, at_hole);
  if (fetched.result == WalFetchResult::absent) require_repository(context);
  return fetched;
}

void WalReader::require_repository(const CallContext& context) {
  if (repository_seen_) return;
  repository_seen_ = read_repository(store_, system_identifier_, context).has_value();
  if (!repository_seen_)
    throw Error(ErrorKind::not_found,
                store_.describe() + " holds no repository of system identifier " + std::to_string(system_identifier_),
                "Check the store's URL, and that its file system is mounted.");
}

} // namespace dbops::core
