#include "core/wal/catalogue.h"

#include "core/base/bytes.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

namespace dbops::core {

namespace {

void for_each_page(ObjectStore& store, ListRequest request, const CallContext& context,
                   const std::function<void(const ListPage&)>& use) {
  do {
    ListPage page = store.list(request, context);
    use(page);
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
}

std::optional<TimelineId> parse_timeline(std::string_view text) {
  std::uint64_t value = 0;
  if (text.size() != 8 || !parse_hex_field(text, value) || value == 0) return {};
  return TimelineId(value);
}

std::vector<ChunkRange> united(std::vector<ChunkRange> chunks) {
  std::ranges::sort(chunks, {}, &ChunkRange::from);
  std::vector<ChunkRange> pieces;
  for (const ChunkRange& chunk : chunks)
    if (!pieces.empty() && chunk.from <= pieces.back().to)
      pieces.back().to = std::max(pieces.back().to, chunk.to);
    else
      pieces.push_back(chunk);
  return pieces;
}

// Where in its segment a base backup began, which its label has in its name: "<segment>.00000028.backup".
std::uint64_t offset_of(const WalFileName& label) {
  std::uint64_t offset = 0;
  parse_hex_field(std::string_view(label.name).substr(label.segment.size() + 1, 8), offset);
  return offset;
}

// Takes the objects of a timeline in byte order, in which a segment comes right before its chunks.
class TimelineReader {
 public:
  TimelineReader(TimelineContents& contents, SegmentSize size, const std::function<void(const ObjectInfo&)>& redundant)
      : contents_(contents), size_(size), redundant_(redundant) {}

  void take(const WalKey& key, const ObjectInfo& object) {
    ++contents_.objects;
    contents_.bytes += object.size;
    const auto id = key.file.segment.empty() ? std::nullopt : parse_segment_name(key.file.segment, size_);
    if (!id) return;
    if (key.chunk)
      take_chunk(id->number, *key.chunk, object);
    else if (key.file.kind == WalFileKind::segment)
      take_segment(id->number, object);
    else if (key.file.kind == WalFileKind::partial)
      contents_.partials.push_back(id->number);
    else if (key.file.kind == WalFileKind::backup)
      contents_.labels.push_back(size_.start_of(id->number) + offset_of(key.file));
  }

  // Ends the segment whose chunks are being collected.
  void flush() {
    if (auto pieces = united(std::move(chunks_)); !pieces.empty()) {
      const std::uint32_t covered = pieces.front().from == 0 ? pieces.front().to : 0;
      contents_.streamed.push_back({collecting_, covered, stored_, std::move(pieces)});
    }
    chunks_.clear();
    stored_ = {};
  }

 private:
  void take_segment(SegmentNumber number, const ObjectInfo& object) {
    flush();
    auto& ranges = contents_.ranges;
    if (!ranges.empty() && ranges.back().last + 1 == number)
      ranges.back().last = number;
    else
      ranges.push_back({number, number});
    ranges.back().stored = object.modified;
  }

  void take_chunk(SegmentNumber number, const ChunkRange& chunk, const ObjectInfo& object) {
    if (!contents_.ranges.empty() && contents_.ranges.back().last == number) {
      if (redundant_) redundant_(object);
      return;
    }
    if (number != collecting_) flush();
    collecting_ = number;
    chunks_.push_back(chunk);
    stored_ = std::max(stored_, object.modified);
  }

  TimelineContents& contents_;
  SegmentSize size_;
  const std::function<void(const ObjectInfo&)>& redundant_;
  SegmentNumber collecting_ = 0;
  std::vector<ChunkRange> chunks_;
  WallTime stored_; // the last of them
};

} // namespace

std::vector<std::uint64_t> list_clusters(ObjectStore& store, const CallContext& context) {
  std::vector<std::uint64_t> clusters;
  for_each_page(store, {.one_level = true}, context, [&](const ListPage& page) {
    for (const std::string& prefix : page.prefixes) {
      std::uint64_t identifier = 0;
      const auto [end, error] = std::from_chars(prefix.data(), prefix.data() + prefix.size(), identifier);
      if (error == std::errc() && cluster_prefix(identifier) == prefix) clusters.push_back(identifier);
    }
  });
  return clusters;
}

std::optional<SegmentSize> stored_segment_size(ObjectStore& store, std::uint64_t system_identifier,
                                               const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier);
  ListRequest request{.prefix = root + "wal/"};
  do {
    ListPage page = store.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const auto key = parse_wal_key(std::string_view(object.key).substr(root.size()));
      if (!key || key->chunk || key->file.kind != WalFileKind::segment) continue;
      const auto start = store.get(object.key, {.offset = 0, .length = max_object_header_size}, context);
      if (!start) continue;
      const std::uint64_t size = parse_object_header(*start).plaintext_size;
      if (SegmentSize::valid(size)) return SegmentSize(size);
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return {};
}

std::vector<TimelineId> list_timelines(ObjectStore& store, std::uint64_t system_identifier,
                                       const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier) + "wal/";
  std::set<TimelineId> timelines;
  for_each_page(store, {.prefix = root, .one_level = true}, context, [&](const ListPage& page) {
    for (const std::string& prefix : page.prefixes)
      if (const auto timeline =
              parse_timeline(std::string_view(prefix).substr(root.size(), prefix.size() - root.size() - 1)))
        timelines.insert(*timeline);
    for (const ObjectInfo& object : page.objects)
      if (const auto file = parse_wal_file_name(std::string_view(object.key).substr(root.size()));
          file && file->kind == WalFileKind::history)
        timelines.insert(*parse_timeline(file->timeline));
  });
  return {timelines.begin(), timelines.end()};
}

TimelineContents read_timeline(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                               SegmentSize size, const std::function<void(const ObjectInfo&)>& redundant,
                               const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier);
  TimelineContents contents;
  contents.timeline = timeline;
  const auto history = parse_wal_file_name(hex_field(timeline, 8) + ".history");
  contents.has_history = store.head(root + wal_file_key(*history), context).has_value();
  TimelineReader reader(contents, size, redundant);
  for_each_page(store, {.prefix = root + timeline_prefix(timeline)}, context, [&](const ListPage& page) {
    for (const ObjectInfo& object : page.objects)
      if (const auto key = parse_wal_key(std::string_view(object.key).substr(root.size()))) reader.take(*key, object);
  });
  reader.flush();
  return contents;
}

} // namespace dbops::core
