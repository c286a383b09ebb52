#include "cli/tablespace_guard.h"

#include "core/backup/control_file.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/page_header.h"
#include "core/wal/segment.h"

#include <fmt/format.h>

#include <algorithm>
#include <fcntl.h>
#include <fstream>

namespace dbops::cli {

namespace fs = std::filesystem;
using core::Bytes;
using core::Lsn;

namespace {

// The last page of the segment before that one, which PostgreSQL has kept in pg_wal under its name when it was
// replayed. It may have been one of an older timeline.
Bytes last_page_before(const core::RestoreFile& segment, const fs::path& pg_wal, std::string_view name) {
  const auto page_size = core::wal_page_size(segment.start(512));
  if (!page_size || !core::SegmentSize::valid(segment.written())) return {};
  const core::SegmentSize size(segment.written());
  const auto id = core::parse_segment_name(name, size);
  if (!id || id->number == 0) return {};
  core::SegmentId before{0, id->number - 1};
  std::error_code error;
  for (fs::directory_iterator entry(pg_wal, error), end; !error && entry != end; entry.increment(error))
    if (const auto other = core::parse_segment_name(entry->path().filename().string(), size);
        other && other->number == before.number && other->timeline <= id->timeline)
      before.timeline = std::max(before.timeline, other->timeline);
  const auto file = core::File::open_if_exists(pg_wal / core::segment_name(before, size), O_RDONLY);
  if (!file || file->size() != size.bytes()) return {};
  Bytes page(*page_size);
  page.resize(file->read_at(size.bytes() - *page_size, page));
  return page;
}

// Where replay begins: nothing before that is replayed. A server that starts from a backup reads its label first.
Lsn replay_start(const fs::path& data_directory) {
  constexpr std::string_view field = "START WAL LOCATION: ";
  std::ifstream label(data_directory / "backup_label");
  for (std::string line; std::getline(label, line);)
    if (line.starts_with(field))
      if (const auto lsn = core::parse_lsn(line.substr(field.size(), line.find(' ', field.size()) - field.size())))
        return *lsn;
  return core::control_state(core::read_control_file(data_directory)).redo;
}

} // namespace

std::optional<TablespaceGuard::Refusal> TablespaceGuard::look_at(const core::RestoreFile& segment,
                                                                 const fs::path& pg_wal, std::string_view name) const {
  if (!fs::exists(data_directory_ / "PG_VERSION") || !fs::exists(data_directory_ / "global")) return {};
  const auto creations = core::tablespace_creations(
      last_page_before(segment, pg_wal, name),
      [&](std::uint64_t offset, std::size_t length) { return segment.read(offset, length); }, segment.written());
  if (creations.empty()) return {};
  const Lsn start = replay_start(data_directory_);
  for (const core::TablespaceCreation& creation : creations)
    if (creation.record >= start)
      if (auto refusal = judge(creation)) return refusal;
  return {};
}

std::optional<TablespaceGuard::Refusal> TablespaceGuard::judge(const core::TablespaceCreation& creation) const {
  if (creation.location.empty() || is_own(creation)) return {};
  const std::string what = fmt::format("at {} WAL creates tablespace {} in \"{}\"", core::to_string(creation.record),
                                       creation.oid, creation.location);
  const std::string advice = fmt::format(
      "take a backup now that the tablespace is there, and restore that with --tablespace {}=PATH", creation.oid);
  if (is_occupied(creation.location))
    return Refusal{what + ", where files of a server are already: replay would overwrite them",
                   advice + "; or remove that directory, if no server uses it"};
  if (none_at_all_) return Refusal{what + ", outside of the directory of this recovery", advice};
  return {};
}

// An earlier replay has made the link, of this tablespace or of another that came to its place; or the restore has,
// which found nothing there.
bool TablespaceGuard::is_own(const core::TablespaceCreation& creation) const {
  std::error_code error;
  for (fs::directory_iterator link(data_directory_ / "pg_tblspc", error), end; !error && link != end;
       link.increment(error))
    if (std::error_code unreadable; fs::read_symlink(link->path(), unreadable) == creation.location) return true;
  return false;
}

// By a server of this version, also when it has no table there yet: both would make theirs. What cannot be looked at is
// somebody else's: replay would fail as well.
bool TablespaceGuard::is_occupied(const fs::path& location) const {
  std::string major;
  std::ifstream(data_directory_ / "PG_VERSION") >> major;
  const fs::path files =
      location / fmt::format("PG_{}_{}", major, core::catalog_version(core::read_control_file(data_directory_)));
  std::error_code error;
  return fs::symlink_status(files, error).type() != fs::file_type::not_found;
}

} // namespace dbops::cli
