#include "core/backup/file_walk.h"

#include "core/backup/file_rules.h"
#include "core/base/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <dirent.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace dbops::core {

namespace {

namespace fs = std::filesystem;

// The names of a directory, sorted; a database may have millions of files, so they share one allocation.
class Names {
 public:
  // False: there is no such directory (any more).
  bool read(const fs::path& directory) {
    struct Close {
      void operator()(DIR* open) const noexcept { ::closedir(open); }
    };
    const std::unique_ptr<DIR, Close> open(::opendir(directory.c_str()));
    if (!open && (errno == ENOENT || errno == ENOTDIR)) return false;
    if (!open) throw system_error(errno, "could not open directory \"" + directory.string() + "\"");
    for (errno = 0; const dirent* entry = ::readdir(open.get()); errno = 0) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      starts_.push_back(std::uint32_t(text_.size()));
      text_.append(name).push_back('\0');
    }
    if (errno != 0) throw system_error(errno, "could not read directory \"" + directory.string() + "\"");
    std::ranges::sort(starts_, [this](std::uint32_t a, std::uint32_t b) { return at(a) < at(b); });
    return true;
  }
  [[nodiscard]] std::size_t size() const noexcept { return starts_.size(); }
  [[nodiscard]] std::string_view operator[](std::size_t i) const { return at(starts_[i]); }
  [[nodiscard]] bool contains(std::string_view name) const {
    return std::ranges::binary_search(starts_, name, {}, [this](std::uint32_t start) { return at(start); });
  }

 private:
  [[nodiscard]] std::string_view at(std::uint32_t start) const { return text_.data() + start; }
  std::string text_;
  std::vector<std::uint32_t> starts_;
};

constexpr int looks = 50; // at a tablespace that is not there

class Walk {
 public:
  Walk(const WalkOptions& options, const std::function<void(FileEntry)>& visit) : options_(options), visit_(visit) {}

  // real: where `path` is; path: its name in the manifest, empty for the data directory.
  void directory(const fs::path& real, const std::string& path) {
    Names names;
    if (!names.read(real)) {
      if (path.empty()) throw system_error(ENOENT, "could not open directory \"" + real.string() + "\"");
      return;
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string name(names[i]);
      std::string below = path_below(path, name);
      const FileRule rule = file_rule(below);
      if (rule == FileRule::skip || is_unlogged(names, below)) continue;
      // Of a tablespace, only this server's directory.
      if (is_tablespace_link(path) && name != options_.tablespace_version_directory) continue;
      one(real / name, std::move(below), rule);
    }
  }

 private:
  static bool is_tablespace_link(const std::string& path) {
    return path.starts_with("pg_tblspc/") && path.find('/', sizeof "pg_tblspc/" - 1) == std::string::npos;
  }

  static bool is_unlogged(const Names& names, const std::string& path) {
    const auto relation = parse_relation_file(path);
    return relation && relation->fork != RelationFork::init &&
           names.contains(std::string(relation->relation) + "_init");
  }

  void one(const fs::path& real, std::string path, FileRule rule) {
    struct stat status {};
    if (::lstat(real.c_str(), &status) != 0) {
      if (errno == ENOENT) return;
      throw system_error(errno, "could not stat \"" + real.string() + "\"");
    }
    FileEntry entry;
    entry.path = std::move(path);
    entry.mode = status.st_mode & 07777;
    entry.modified = std::int64_t(status.st_mtim.tv_sec) * 1000000 + status.st_mtim.tv_nsec / 1000;
    // pg_wal may be a link to another disk: where it is restored, it is a directory.
    if (S_ISLNK(status.st_mode) && rule != FileRule::skip_contents) return link(real, std::move(entry));
    if (S_ISDIR(status.st_mode) || rule == FileRule::skip_contents) {
      entry.type = EntryType::directory;
      if (S_ISLNK(status.st_mode)) entry.mode = 0700;
      const std::string below = entry.path;
      visit_(std::move(entry));
      if (rule != FileRule::skip_contents) directory(real, below);
    } else if (S_ISREG(status.st_mode)) {
      entry.size = std::uint64_t(status.st_size);
      visit_(std::move(entry));
    } else if (options_.skipped) {
      options_.skipped(entry.path);
    }
  }

  void link(const fs::path& real, FileEntry entry) {
    std::error_code error;
    entry.type = EntryType::symlink;
    entry.target = fs::read_symlink(real, error).string();
    if (error == std::errc::no_such_file_or_directory) return;
    if (error) throw system_error(error.value(), "could not read the link \"" + real.string() + "\"");
    const std::string below = entry.path;
    if (is_tablespace_link(below)) {
      if (!is_there(real)) return;
      visit_(std::move(entry));
      return directory(real, below);
    }
    if (is_data(below))
      throw Error(ErrorKind::configuration,
                  "\"" + below + "\" is a link to \"" + entry.target + "\", which a backup cannot follow",
                  "Move what is behind it into the data directory, or into a tablespace.");
    visit_(std::move(entry));
    if (fs::is_directory(real, error) && options_.skipped) options_.skipped(below + "/");
  }

  // Where a link that the server has not made hides data.
  static bool is_data(std::string_view path) {
    const std::string_view top = path.substr(0, path.find('/'));
    constexpr std::array<std::string_view, 8> names{"base",         "global",    "pg_commit_ts", "pg_logical",
                                                    "pg_multixact", "pg_tblspc", "pg_twophase",  "pg_xact"};
    return std::ranges::find(names, top) != names.end();
  }

  // A tablespace whose disk is not mounted must not become an empty one. False: it was dropped.
  bool is_there(const fs::path& link) {
    const fs::path wanted = link / options_.tablespace_version_directory;
    for (int look = 0; look < looks; ++look) {
      if (look > 0 && options_.look_again) options_.look_again();
      struct stat status {};
      if (::stat(wanted.c_str(), &status) == 0) {
        if (S_ISDIR(status.st_mode)) return true;
      } else if (errno != ENOENT && errno != ENOTDIR) {
        throw system_error(errno, "could not stat \"" + wanted.string() + "\"");
      }
      if (::lstat(link.c_str(), &status) != 0 && errno == ENOENT) return false;
    }
    throw Error(ErrorKind::configuration,
                "the tablespace at \"" + link.string() + "\" has no directory \"" +
                    options_.tablespace_version_directory + "\": it cannot be backed up",
                "Mount its file system, or drop the tablespace.");
  }

  const WalkOptions& options_;
  const std::function<void(FileEntry)>& visit_;
};

} // namespace

void walk_data_directory(const WalkOptions& options, const std::function<void(FileEntry)>& visit) {
  Walk(options, visit).directory(options.data_directory, {});
}

} // namespace dbops::core
