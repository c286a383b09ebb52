#include "cli/commands/wal_list.h"

#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include "core/base/error.h"
#include "core/text/quantity.h"
#include "core/text/table.h"
#include "core/wal/catalogue.h"
#include "core/wal/cluster_identity.h"
#include "core/wal/lineage.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

namespace dbops::cli {

using core::Error;
using core::ErrorKind;
using core::SegmentNumber;
using core::SegmentSize;
using core::TimelineContents;

namespace {

enum class Kind { archived, streamed, incomplete, missing };

const char* name_of(Kind kind) {
  switch (kind) {
  case Kind::archived:
    return "archived";
  case Kind::streamed:
    return "streamed";
  case Kind::incomplete:
    return "incomplete";
  case Kind::missing:
    break;
  }
  return "missing";
}

// Consecutive WAL of a timeline that is there in the same way, or is not there.
struct Stretch {
  Kind kind = Kind::archived;
  SegmentNumber first = 0, last = 0;
  core::Lsn end = 0; // behind the last byte that is there
};

// All of a timeline in its order, with what is missing between. The last streamed segment may end anywhere; an earlier
// one must be there in full.
// lost: what is missing before a switch to a later timeline.
std::vector<Stretch> stretches(const TimelineContents& contents, const std::vector<core::LineageGap>& lost,
                               SegmentSize size) {
  std::vector<Stretch> there;
  for (const core::SegmentRange& range : contents.ranges)
    there.push_back({Kind::archived, range.first, range.last, size.start_of(range.last + 1)});
  for (const core::StreamedTail& tail : contents.streamed)
    there.push_back({Kind::streamed, tail.segment, tail.segment, size.start_of(tail.segment) + tail.covered});
  std::ranges::sort(there, {}, &Stretch::first);
  std::vector<Stretch> all;
  for (Stretch& stretch : there) {
    if (!all.empty()) {
      Stretch& before = all.back();
      if (before.end < size.start_of(before.last + 1)) before.kind = Kind::incomplete;
      if (before.last + 1 < stretch.first)
        all.push_back({Kind::missing, before.last + 1, stretch.first - 1, size.start_of(stretch.first)});
    }
    all.push_back(stretch);
  }
  for (const core::LineageGap& gap : lost) {
    if (gap.timeline != contents.timeline) continue;
    const SegmentNumber first = size.segment_of(gap.from), last = size.segment_of(gap.to - 1);
    if (gap.from > size.start_of(first) && !all.empty() && all.back().last == first) all.back().kind = Kind::incomplete;
    const SegmentNumber missing = gap.from > size.start_of(first) ? first + 1 : first;
    if (missing <= last) all.push_back({Kind::missing, missing, last, gap.to});
  }
  std::ranges::stable_sort(all, {}, &Stretch::first);
  return all;
}

bool is_whole(const std::vector<Stretch>& timeline) {
  return std::ranges::none_of(timeline, [](const Stretch& stretch) {
    return stretch.kind == Kind::missing || stretch.kind == Kind::incomplete;
  });
}

struct Cluster {
  std::uint64_t identifier = 0;
  std::optional<SegmentSize> size;
};

std::string joined(const std::vector<std::uint64_t>& numbers) {
  std::string text;
  for (const std::uint64_t number : numbers)
    text += (text.empty() ? "" : ", ") + std::to_string(number);
  return text;
}

// The one that is named, or that of the directory that the command runs in, or the only one in the store.
Cluster cluster_of(core::ObjectStore& store, const StoreSettings& settings) {
  if (settings.system_identifier) return {*settings.system_identifier, {}};
  if (const auto here = core::read_cluster_identity(std::filesystem::current_path()))
    return {here->system_identifier, here->segment_size};
  const std::vector<std::uint64_t> clusters = core::list_clusters(store, {});
  if (clusters.empty()) throw Error(ErrorKind::not_found, store.describe() + " holds nothing of dbops");
  if (clusters.size() > 1)
    throw Error(ErrorKind::configuration, store.describe() + " holds WAL of several clusters: " + joined(clusters) +
                                              "; name one with "
                                              "--system-identifier");
  return {clusters.front(), {}};
}

// Everything that is listed of one store.
struct StoreContents {
  std::string store;
  std::uint64_t identifier = 0;
  SegmentSize size;
  std::vector<TimelineContents> timelines;
  std::vector<core::ObjectInfo> garbage;
  std::vector<core::LineageGap> lost; // before a switch, of each timeline the farthest
};

std::vector<Stretch> stretches(const TimelineContents& contents, const StoreContents& store) {
  return stretches(contents, store.lost, store.size);
}

void add_lost(std::vector<core::LineageGap>& lost, const core::LineageGap& gap) {
  const auto known = std::ranges::find(lost, gap.timeline, &core::LineageGap::timeline);
  if (known == lost.end())
    lost.push_back(gap);
  else if (known->to < gap.to)
    *known = gap;
}

// What is missing between a timeline and the one it began from.
void find_lost_before(const TimelineContents& timeline, core::WalReader& reader, StoreContents& contents) {
  const auto ancestors = reader.history_of(timeline.timeline, {});
  if (!ancestors || ancestors->empty()) return;
  const auto parent = std::ranges::find(contents.timelines, ancestors->back().timeline, &TimelineContents::timeline);
  if (parent == contents.timelines.end()) return;
  if (const auto gap = core::gap_before_switch(reader, timeline, *parent, ancestors->back().end, contents.size, {}))
    add_lost(contents.lost, *gap);
}

void find_lost(core::ObjectStore& store, const core::KeyRing* keys, StoreContents& contents) {
  core::WalReader reader(store, contents.identifier, keys, contents.size);
  for (const TimelineContents& timeline : contents.timelines) {
    if (!timeline.has_history) continue;
    try {
      find_lost_before(timeline, reader, contents);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::key_missing) throw;
      fmt::print(stderr, "dbops wal-list: the switch to timeline {} is not checked: {}\n", timeline.timeline,
                 error.what());
    }
  }
}

StoreContents read_store(core::ObjectStore& store, const core::KeyRing* keys, const WalListCommand& command) {
  Cluster cluster = cluster_of(store, command.stores);
  if (!cluster.size) cluster.size = core::stored_segment_size(store, cluster.identifier, {});
  // Of a store with nothing but pieces; a size that is not right then makes other ranges of them, and loses none.
  StoreContents contents{
      store.describe(), cluster.identifier, cluster.size.value_or(SegmentSize(16 << 20)), {}, {}, {}};
  std::function<void(const core::ObjectInfo&)> redundant;
  if (command.garbage) redundant = [&](const core::ObjectInfo& object) { contents.garbage.push_back(object); };
  for (const core::TimelineId timeline : core::list_timelines(store, cluster.identifier, {}))
    contents.timelines.push_back(
        core::read_timeline(store, cluster.identifier, timeline, contents.size, redundant, {}));
  if (!command.garbage) find_lost(store, keys, contents);
  return contents;
}

Json as_json(const StoreContents& store) {
  Json timelines = Json::array();
  for (const TimelineContents& contents : store.timelines) {
    Json parts = Json::array();
    for (const Stretch& part : stretches(contents, store))
      parts.push_back({{"state", name_of(part.kind)},
                       {"first_segment", segment_name({contents.timeline, part.first}, store.size)},
                       {"last_segment", segment_name({contents.timeline, part.last}, store.size)},
                       {"segments", part.last - part.first + 1},
                       {"start_lsn", core::to_string(store.size.start_of(part.first))},
                       {"end_lsn", core::to_string(part.end)}});
    timelines.push_back({{"timeline", contents.timeline},
                         {"has_history", contents.has_history},
                         {"objects", contents.objects},
                         {"bytes", contents.bytes},
                         {"parts", parts}});
  }
  return {{"store", store.store},
          {"system_identifier", std::to_string(store.identifier)}, // text: JSON's numbers may be rounded
          {"wal_segment_size", store.size.bytes()},
          {"timelines", timelines}};
}

void print_table(const StoreContents& store, const Terminal& terminal) {
  using core::Align;
  core::Table table({{"timeline", Align::right},
                     {"state"},
                     {"first segment"},
                     {"last segment"},
                     {"segments", Align::right},
                     {"start"},
                     {"end"},
                     {"objects", Align::right},
                     {"size", Align::right}});
  for (const TimelineContents& contents : store.timelines) {
    bool first = true;
    std::vector<Stretch> parts = stretches(contents, store);
    for (const Stretch& part : parts) {
      const bool bad = part.kind == Kind::missing || part.kind == Kind::incomplete;
      table.add_row({{first ? std::to_string(contents.timeline) : "", core::Style::strong},
                     {name_of(part.kind), bad ? core::Style::bad : core::Style::plain},
                     {segment_name({contents.timeline, part.first}, store.size)},
                     {segment_name({contents.timeline, part.last}, store.size)},
                     {core::grouped(std::int64_t(part.last - part.first + 1))},
                     {core::to_string(store.size.start_of(part.first))},
                     {core::to_string(part.end)},
                     {first ? core::grouped(std::int64_t(contents.objects)) : ""},
                     {first ? core::byte_size(std::int64_t(contents.bytes)) : ""}});
      first = false;
    }
    if (parts.empty()) // a history alone
      table.add_row({{std::to_string(contents.timeline), core::Style::strong},
                     {"history"},
                     {""},
                     {""},
                     {"0"},
                     {""},
                     {""},
                     {"0"},
                     {""}});
  }
  write_to_standard_output(fmt::format("{}, system identifier {}\n", store.store, store.identifier));
  print(terminal, table.lines(terminal.width(), terminal.charset));
}

void print_garbage(const StoreContents& store) {
  std::string text;
  for (const core::ObjectInfo& object : store.garbage)
    text += fmt::format("{}\t{}\n", object.key, object.size);
  write_to_standard_output(text);
}

Json garbage_as_json(const StoreContents& store) {
  Json objects = Json::array();
  for (const core::ObjectInfo& object : store.garbage)
    objects.push_back({{"key", object.key}, {"bytes", object.size}});
  return {{"store", store.store}, {"system_identifier", std::to_string(store.identifier)}, {"garbage", objects}};
}

} // namespace

int run(const WalListCommand& command) {
  Stores stores(command.stores, {.max_attempts = 5});
  const Terminal terminal = Terminal::of_standard_output();
  std::vector<Json> json;
  int status = exit_success;
  for (const auto& store : stores.all()) {
    const StoreContents contents = read_store(*store, stores.keys(), command);
    for (const TimelineContents& timeline : contents.timelines)
      if (!command.garbage && !is_whole(stretches(timeline, contents))) status = exit_job;
    if (command.json)
      json.push_back(command.garbage ? garbage_as_json(contents) : as_json(contents));
    else if (command.garbage)
      print_garbage(contents);
    else
      print_table(contents, terminal);
  }
  if (command.json) print_array(json);
  return status;
}

} // namespace dbops::cli
