#include "core/wal/timeline_history.h"

#include "core/base/bytes.h"
#include "core/base/error.h"

#include <charconv>

namespace dbops::core {

namespace {

// "1<TAB>0/3000148<TAB>no recovery target specified"; the reason is for people. Anything blank divides.
std::optional<TimelineSwitch> parse_line(std::string_view line) {
  constexpr std::string_view blank = " \t\r";
  TimelineSwitch entry;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), entry.timeline);
  if (error != std::errc() || entry.timeline == 0) return {};
  line.remove_prefix(std::size_t(end - line.data()));
  const auto lsn_start = line.find_first_not_of(blank);
  if (lsn_start == 0 || lsn_start == std::string_view::npos) return {};
  line.remove_prefix(lsn_start);
  const auto lsn = parse_lsn(line.substr(0, line.find_first_of(blank)));
  if (!lsn) return {};
  entry.end = *lsn;
  return entry;
}

} // namespace

std::vector<TimelineSwitch> parse_timeline_history(std::string_view text, TimelineId timeline) {
  std::vector<TimelineSwitch> ancestors;
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos || line[first] == '#') continue;
    line.remove_prefix(first);
    const auto entry = parse_line(line);
    const TimelineId previous = ancestors.empty() ? 0 : ancestors.back().timeline;
    if (!entry || entry->timeline <= previous || entry->timeline >= timeline)
      throw Error(ErrorKind::corrupt, "the history of timeline " + hex_field(timeline, 8) + " has a line that is none");
    ancestors.push_back(*entry);
  }
  return ancestors;
}

} // namespace dbops::core
