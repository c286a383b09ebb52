#include "core/wal/ancestor_wal.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/own_history.h"

#include <cerrno>
#include <limits>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t largest_history = 1 << 20; // bytes
constexpr std::string_view done_suffix = ".done";

std::vector<std::string> done_segments(const fs::path& archive_status) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(archive_status, error), end; !error && entry != end; entry.increment(error))
    if (const std::string name = entry->path().filename().string(); name.ends_with(done_suffix))
      names.push_back(name.substr(0, name.size() - done_suffix.size()));
  if (error) throw system_error(error.value(), "could not read directory \"" + archive_status.string() + "\"");
  return names;
}

} // namespace

std::size_t offer_ancestor_segments(const fs::path& wal_directory, TimelineId timeline, SegmentSize size) {
  const std::string history = hex_field(timeline, 8) + ".history";
  const fs::path status = wal_directory / "archive_status";
  std::error_code ignored;
  if (timeline < 2 || !fs::exists(status / (history + ".ready"), ignored)) return 0;
  const Bytes text = read_file(wal_directory / history, largest_history);
  const OwnPosition position{.timeline = timeline,
                             .written = std::numeric_limits<Lsn>::max(),
                             .ancestors = parse_timeline_history(as_text(text), timeline)};
  std::size_t offered = 0;
  for (const std::string& name : done_segments(status)) {
    const auto id = parse_segment_name(name, size);
    if (!id || id->timeline == timeline || standing_of(*id, size, position) != SegmentStanding::whole) continue;
    if (!fs::exists(wal_directory / name, ignored)) continue;
    const fs::path done = status / (name + ".done"), ready = status / (name + ".ready");
    if (::rename(done.c_str(), ready.c_str()) == 0)
      ++offered;
    else if (errno != ENOENT) // a checkpoint was faster
      throw system_error(errno, "could not rename file \"" + done.string() + "\"");
  }
  if (offered > 0) sync_directory(status);
  return offered;
}

} // namespace dbops::core
