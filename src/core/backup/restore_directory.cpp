#include "core/backup/restore_directory.h"

#include "core/backup/control_file.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view tablespaces = "pg_tblspc/", temporary_suffix = ".dbops", ready_suffix = ".ready";

constexpr std::uint64_t largest_control_file = 1 << 16; // bytes

// The OID of the tablespace that a path is in, or whose link it is.
std::optional<std::uint32_t> tablespace_of(std::string_view path) {
  if (!path.starts_with(tablespaces)) return {};
  path.remove_prefix(tablespaces.size());
  std::uint32_t oid = 0;
  const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), oid);
  if (error != std::errc() || (end != path.data() + path.size() && *end != '/')) return {};
  return oid;
}

// "pg_tblspc/16400"
bool is_tablespace_root(std::string_view path) {
  return tablespace_of(path) && path.find('/', tablespaces.size()) == std::string_view::npos;
}

void sync_file_system(const fs::path& directory) {
  const File file = File::open(directory, O_RDONLY | O_DIRECTORY);
  if (::syncfs(file.descriptor()) != 0)
    throw system_error(errno, "could not make \"" + directory.string() + "\" durable");
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw system_error(error.value(), "could not remove \"" + path.string() + "\"");
}

// Empty, but for what a restore leaves that ended before it had written its marker.
bool is_unused(const fs::path& directory) {
  const std::array<std::string, 3> left = {std::string(restore_marker).append(temporary_suffix), server_lock_file,
                                           std::string(server_lock_file).append(temporary_suffix)};
  return std::ranges::all_of(fs::directory_iterator(directory), [&](const fs::directory_entry& entry) {
    return std::ranges::find(left, entry.path().filename().string()) != left.end();
  });
}

std::vector<std::string> sorted_names(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    names.push_back(entry->path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory)
    throw system_error(error.value(), "could not read directory \"" + directory.string() + "\"");
  std::ranges::sort(names);
  return names;
}

// Walks what is there beside what is to be there.
class Remover {
 public:
  explicit Remover(const std::function<std::optional<FileEntry>()>& next) : next_(next), wanted_(next()) {}

  void directory(const fs::path& real, const std::string& path) {
    for (const std::string& name : sorted_names(real)) {
      if (path.empty() && (name == restore_marker || name == server_lock_file)) continue;
      const std::string below = path_below(path, name);
      while (wanted_ && path_less(wanted_->path, below))
        wanted_ = next_();
      const bool listed = wanted_ && wanted_->path == below;
      const fs::file_type there = fs::symlink_status(real / name).type();
      // A tablespace's directory may also hold that of a server of another major version.
      if (!listed && is_tablespace_root(path)) continue;
      if (!listed || !fits(there, wanted_->type))
        remove_tree(real / name);
      else if (there == fs::file_type::directory || is_tablespace_root(below))
        directory(real / name, below);
    }
  }

 private:
  static bool fits(fs::file_type there, EntryType wanted) {
    switch (wanted) {
    case EntryType::directory:
      return there == fs::file_type::directory;
    case EntryType::file:
      return there == fs::file_type::regular;
    case EntryType::symlink:
      return there == fs::file_type::symlink;
    }
    return false;
  }
  const std::function<std::optional<FileEntry>()>& next_;
  std::optional<FileEntry> wanted_;
};

} // namespace

RestoreDirectory::RestoreDirectory(const BackupHead& head, const RestoreOptions& options)
    : head_(head), options_(options) {}

std::string RestoreDirectory::location(std::uint32_t oid, const std::string& original) const {
  const auto mapped = options_.tablespaces.find(oid);
  return mapped == options_.tablespaces.end() ? original : mapped->second;
}

// With pg_control in place a server may have started from it since: then it is a data directory as any other.
bool RestoreDirectory::was_interrupted() const {
  const fs::path control = options_.data_directory / "global" / "pg_control";
  if (!fs::exists(options_.data_directory / restore_marker)) return false;
  return !fs::exists(control) || read_file(control, largest_control_file) == without_checkpoint(head_.control_file);
}

// Whether a place is that of this tablespace already, in the directory that is restored into: elsewhere it is another
// server's.
bool RestoreDirectory::is_in_use_here(std::uint32_t oid, const fs::path& place) const {
  std::error_code error;
  const fs::path link = options_.data_directory / tablespaces / std::to_string(oid);
  return fs::is_symlink(link, error) && fs::equivalent(link, place, error) && !error;
}

void RestoreDirectory::check_directory(const fs::path& directory, bool reuses, const char* hint) const {
  std::error_code error;
  const fs::file_status status = fs::status(directory, error);
  if (status.type() == fs::file_type::not_found) return;
  if (error) throw system_error(error.value(), "could not look at \"" + directory.string() + "\"");
  if (status.type() != fs::file_type::directory)
    throw Error(ErrorKind::configuration, "\"" + directory.string() + "\" is not a directory");
  if (reuses || is_unused(directory)) return;
  throw Error(ErrorKind::configuration, "directory \"" + directory.string() + "\" is not empty", hint);
}

// Segments that the server in the directory has not archived: nobody else has them.
void RestoreDirectory::check_archived() const {
  if (!options_.delta || options_.discard_wal) return;
  std::size_t count = 0;
  for (const std::string& name : sorted_names(options_.data_directory / "pg_wal" / "archive_status"))
    if (name.ends_with(ready_suffix) && !name.ends_with(std::string(".backup").append(ready_suffix))) ++count;
  if (count == 0) return;
  throw Error(ErrorKind::configuration,
              "\"" + (options_.data_directory / "pg_wal").string() + "\" holds " + std::to_string(count) +
                  " files that were never archived, and --delta would remove them",
              "Start the server so that it archives them, copy pg_wal to another place, or use --discard-wal.");
}

void RestoreDirectory::check_places() {
  std::map<std::string, std::uint32_t> places{
      {fs::weakly_canonical(options_.data_directory).lexically_normal() / "", 0}};
  for (const TablespaceInfo& space : head_.tablespaces) {
    const std::string place = location(space.oid, space.location);
    if (!fs::path(place).is_absolute())
      throw Error(ErrorKind::configuration,
                  "\"" + place + "\" of tablespace " + std::to_string(space.oid) + " is not an absolute path");
    const std::string mine = fs::weakly_canonical(place).lexically_normal() / "";
    for (const auto& [other, oid] : places)
      if (mine.starts_with(other) || other.starts_with(mine))
        throw Error(ErrorKind::configuration,
                    "\"" + place + "\" of tablespace " + std::to_string(space.oid) +
                        (oid == 0 ? " and the data directory are" : " and that of " + std::to_string(oid) + " are") +
                        " the same place, or one is inside of the other",
                    "Give the tablespace another place with --tablespace.");
    places.emplace(mine, space.oid);
    check_directory(place, reuses_files_ && is_in_use_here(space.oid, place),
                    "Give the tablespace another place with --tablespace, or empty this one if no server uses it.");
  }
}

void RestoreDirectory::check() {
  const fs::path& data = options_.data_directory;
  if (fs::is_directory(data)) claim_.lock(data);
  claim_.require_no_server(data);
  interrupted_ = was_interrupted();
  reuses_files_ = options_.delta || interrupted_;
  if (options_.delta && !interrupted_ && fs::exists(data) && !is_unused(data) && !fs::exists(data / "PG_VERSION"))
    throw Error(ErrorKind::configuration,
                "directory \"" + data.string() + "\" is not empty, and is no data directory of PostgreSQL",
                "--delta replaces what is in a data directory.");
  check_directory(data, reuses_files_, "Use another one, or --delta, which replaces what is in it.");
  for (const auto& [oid, path] : options_.tablespaces)
    if (std::ranges::find(head_.tablespaces, oid, &TablespaceInfo::oid) == head_.tablespaces.end())
      throw Error(ErrorKind::configuration, "the backup has no tablespace " + std::to_string(oid));
  check_places();
  if (!interrupted_) check_archived();
}

// Where a path of the backup goes: a link that is there may still lead elsewhere.
fs::path RestoreDirectory::place_of(const std::string& path) const {
  const auto oid = tablespace_of(path);
  const auto space = oid ? std::ranges::find(head_.tablespaces, *oid, &TablespaceInfo::oid) : head_.tablespaces.end();
  if (space == head_.tablespaces.end()) return options_.data_directory / path;
  const std::size_t below = path.find('/', tablespaces.size());
  const fs::path place = location(*oid, space->location);
  return below == std::string::npos ? place : place / path.substr(below + 1);
}

void RestoreDirectory::count(const FileEntry& entry) {
  const std::uint32_t oid = tablespace_of(entry.path).value_or(0);
  Volume& bytes = bytes_[oid];
  bytes.needed += entry.size;
  if (!reuses_files_) return;
  // In a tablespace's directory others may have theirs.
  if (entry.type == EntryType::directory && oid != 0 && is_tablespace_root(fs::path(entry.path).parent_path().string()))
    bytes.replaced += allocated_below(place_of(entry.path));
  if (entry.type != EntryType::file) return;
  // Of a restore that was interrupted, files have their size before they have their content.
  const FileSpace there = space_of_file(place_of(entry.path));
  const std::uint64_t kept = interrupted_ ? there.allocated : std::min(there.size, entry.size);
  if (kept > there.allocated) bytes.replaced += kept - there.allocated;
}

std::string RestoreDirectory::check_space(const RestoreSpace::Look& look) {
  constexpr std::uint64_t segments_at_work = 3; // that recovery reads and writes
  const SegmentSize size(head_.wal_segment_size);
  const fs::path &data = options_.data_directory, wal = data / "pg_wal";
  if (reuses_files_) bytes_[0].replaced += allocated_below(data);
  RestoreSpace space(look);
  space.add(data, bytes_[0].needed, bytes_[0].replaced);
  for (const TablespaceInfo& each : head_.tablespaces)
    if (const auto bytes = bytes_.find(each.oid); bytes != bytes_.end())
      space.add(location(each.oid, each.location), bytes->second.needed, bytes->second.replaced);
  // A link to another place is replaced by a directory, and a mount point stays.
  const bool is_mounted = is_mount_point(wal);
  const fs::path wal_place = is_mounted ? wal : data;
  space.add(wal_place, segments_at_work * size.bytes(), is_mounted ? allocated_below(wal) : 0);
  if (const auto shortage = space.shortage()) {
    if (!interrupted_ && !options_.ignore_space) throw Error(*shortage);
    return shortage->what();
  }
  // Recovery removes WAL whenever it has replayed a checkpoint and written all to disk that was before it, also before
  // the backup is consistent: how much it keeps is not known here, and at most this.
  space.add(wal_place, (size.segment_of(head_.stop_lsn) - size.segment_of(head_.start_lsn)) * size.bytes(), 0);
  if (const auto shortage = space.shortage())
    return std::string(shortage->what()) +
           " with all WAL that was written while it was taken: recovery keeps what lies behind its last restartpoint";
  return {};
}

void RestoreDirectory::write_durably(const fs::path& name, ByteView content) const {
  const fs::path path = options_.data_directory / name;
  fs::path temporary = path;
  temporary += temporary_suffix;
  File file = File::open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  file.write(content);
  file.sync();
  file.close();
  fs::rename(temporary, path);
  sync_directory(path.parent_path());
}

void RestoreDirectory::begin() {
  const fs::path& data = options_.data_directory;
  if (!fs::exists(data)) {
    fs::create_directories(data);
    sync_directory(data.parent_path());
  }
  claim_.lock(data);
  claim_.hold_off_servers(data);
  for (const TablespaceInfo& space : head_.tablespaces) {
    const fs::path place = location(space.oid, space.location);
    fs::create_directories(place);
    claim_.lock(place);
  }
  check(); // once more: between the first time and the locks, others could get in
  if (::chmod(data.c_str(), 0700) != 0) throw system_error(errno, "could not chmod \"" + data.string() + "\"");
  write_durably(restore_marker, as_bytes("restoring backup " + head_.label + "\n"));
  claim_.require_held();
  if (fs::remove(data / "global" / "pg_control")) sync_directory(data / "global");
  for (const TablespaceInfo& space : head_.tablespaces) {
    const fs::path place = location(space.oid, space.location), link = data / tablespaces / std::to_string(space.oid);
    if (::chmod(place.c_str(), 0700) != 0) throw system_error(errno, "could not chmod \"" + place.string() + "\"");
    fs::create_directories(link.parent_path());
    if (fs::is_symlink(link) && fs::read_symlink(link) == place) continue;
    if (!fs::is_symlink(link)) remove_tree(link);
    // At once: a place that has files and no link is another server's.
    fs::path made = link;
    made += temporary_suffix;
    remove_tree(made);
    fs::create_symlink(place, made);
    fs::rename(made, link);
  }
}

void RestoreDirectory::remove_others(const std::function<std::optional<FileEntry>()>& next) {
  Remover(next).directory(options_.data_directory, {});
}

RestoreDirectory::Made RestoreDirectory::make(const FileEntry& entry) {
  Made made{options_.data_directory / entry.path, false};
  if (entry.type == EntryType::directory) {
    fs::create_directories(made.path);
    if (::chmod(made.path.c_str(), entry.mode | 0700) != 0)
      throw system_error(errno, "could not chmod \"" + made.path.string() + "\"");
    return made;
  }
  if (entry.type == EntryType::symlink) {
    if (is_tablespace_root(entry.path)) return made; // begin() has made it
    remove_tree(made.path);
    fs::create_symlink(entry.target, made.path);
    return made;
  }
  const File file = File::open(made.path, O_WRONLY | O_CREAT, 0600);
  made.had_content = file.size() > 0;
  if (::ftruncate(file.descriptor(), off_t(entry.size)) != 0)
    throw system_error(errno, "could not set the size of \"" + made.path.string() + "\"");
  if (::fchmod(file.descriptor(), entry.mode | 0600) != 0)
    throw system_error(errno, "could not chmod \"" + made.path.string() + "\"");
  return made;
}

// Lines "16400 /path"; a backslash in front of a newline or a backslash in the path (xlogbackup.c).
std::string RestoreDirectory::tablespace_map() const {
  std::string map;
  for (std::string_view rest = head_.tablespace_map; !rest.empty();) {
    std::size_t end = 0;
    while (end < rest.size() && rest[end] != '\n')
      end += rest[end] == '\\' ? 2 : 1;
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(rest.size(), end + 1));
    std::uint32_t oid = 0;
    std::from_chars(line.data(), line.data() + line.size(), oid);
    const auto mapped = options_.tablespaces.find(oid);
    if (mapped == options_.tablespaces.end()) {
      map.append(line).append("\n");
      continue;
    }
    map.append(std::to_string(oid)).append(" ");
    for (const char c : mapped->second) {
      if (c == '\n' || c == '\r' || c == '\\') map += '\\';
      map += c;
    }
    map += '\n';
  }
  return map;
}

void RestoreDirectory::finish() {
  const fs::path& data = options_.data_directory;
  write_durably("backup_label", as_bytes(head_.backup_label));
  if (!head_.tablespace_map.empty()) write_durably("tablespace_map", as_bytes(tablespace_map()));
  if (!options_.recovery_settings.empty()) {
    const fs::path settings = data / "postgresql.auto.conf";
    Bytes content = fs::exists(settings) ? read_file(settings, 16 << 20) : Bytes();
    append(content, as_bytes(options_.recovery_settings));
    write_durably("postgresql.auto.conf", content);
  }
  if (!options_.signal_file.empty()) write_durably(options_.signal_file, {});
  sync_file_system(data);
  for (const TablespaceInfo& space : head_.tablespaces)
    sync_file_system(location(space.oid, space.location));
  claim_.require_held();
  // Should backup_label be removed, the server must not take the last checkpoint before the backup's end for its start.
  write_durably("global/pg_control", without_checkpoint(head_.control_file));
  fs::remove(data / restore_marker);
  sync_directory(data);
  claim_.require_held();
  claim_.release();
}

} // namespace dbops::core
