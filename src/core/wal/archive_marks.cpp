#include "core/wal/archive_marks.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/own_history.h"

#include <fcntl.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t largest_history = 1 << 20; // bytes

enum class Mark { none, ready, done };

bool is_there(const fs::path& path) {
  std::error_code error;
  const bool there = fs::exists(path, error);
  if (error) throw system_error(error.value(), "could not stat file \"" + path.string() + "\"");
  return there;
}

// In this order, as XLogArchiveCheckDone does it: .ready becomes .done, both go when the file itself has gone.
Mark mark_of(const fs::path& wal_directory, const std::string& name) {
  const fs::path done = wal_directory / "archive_status" / (name + ".done");
  if (is_there(done)) return Mark::done;
  if (is_there(wal_directory / "archive_status" / (name + ".ready"))) return Mark::ready;
  return is_there(done) || !is_there(wal_directory / name) ? Mark::done : Mark::none;
}

// With a history that is no use only what is of the timeline itself is known to be this server's.
OwnPosition position_on(const fs::path& wal_directory, TimelineId timeline, Lsn flushed) {
  OwnPosition position{.timeline = timeline, .written = flushed, .ancestors = {}};
  const fs::path history = wal_directory / history_name(timeline);
  if (timeline < 2 || !is_there(history)) return position;
  try {
    position.ancestors = parse_timeline_history(as_text(read_file(history, largest_history)), timeline);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::configuration) throw;
  }
  return position;
}

bool is_to_be_archived(const WalFileName& file, SegmentSize size, const OwnPosition& position) {
  if (file.kind == WalFileKind::history) return file.name == history_name(position.timeline);
  const auto id = parse_segment_name(file.segment, size);
  if (!id || file.kind == WalFileKind::backup) return false;
  const SegmentStanding wanted = file.kind == WalFileKind::partial ? SegmentStanding::remnant : SegmentStanding::whole;
  return standing_of(*id, size, position) == wanted;
}

std::vector<WalFileName> unmarked_in(const fs::path& wal_directory, const OwnPosition& position, SegmentSize size) {
  std::vector<WalFileName> files;
  std::error_code error;
  for (fs::directory_iterator entry(wal_directory, error), end; !error && entry != end; entry.increment(error)) {
    auto file = parse_wal_file_name(entry->path().filename().string());
    if (file && is_to_be_archived(*file, size, position) && mark_of(wal_directory, file->name) == Mark::none)
      files.push_back(std::move(*file));
  }
  if (error) throw system_error(error.value(), "could not read directory \"" + wal_directory.string() + "\"");
  return files;
}

} // namespace

std::string history_name(TimelineId timeline) {
  return hex_field(timeline, 8) + ".history";
}

std::vector<WalFileName> unmarked_files(const fs::path& wal_directory, TimelineId timeline, Lsn flushed,
                                        SegmentSize size, std::optional<SegmentNumber> from) {
  if (!from) return unmarked_in(wal_directory, position_on(wal_directory, timeline, flushed), size);
  std::vector<WalFileName> files;
  for (SegmentNumber number = *from; number < size.segment_of(flushed); ++number) {
    const std::string name = segment_name({timeline, number}, size);
    if (mark_of(wal_directory, name) == Mark::none) files.push_back(*parse_wal_file_name(name));
  }
  return files;
}

void make_ready(const fs::path& wal_directory, const std::vector<WalFileName>& files) {
  if (files.empty()) return;
  const fs::path status = wal_directory / "archive_status";
  for (const WalFileName& file : files)
    File::open(status / (file.name + ".ready"), O_WRONLY | O_CREAT).close(); // empty: there is nothing but its name
  sync_directory(status);
}

bool is_done(const fs::path& wal_directory, const std::string& name) noexcept {
  try {
    return mark_of(wal_directory, name) == Mark::done;
  } catch (const std::exception&) {
    return false;
  }
}

bool history_waits(const fs::path& wal_directory, TimelineId timeline) noexcept {
  return timeline > 1 && !is_done(wal_directory, history_name(timeline));
}

} // namespace dbops::core
