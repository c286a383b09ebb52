#include "cli/drill_scratch.h"

#include "core/base/error.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace dbops::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view prefix = "dbops-drill-";
constexpr const char* lock_name = "drill.lock";

fs::path make_directory(const fs::path& parent) {
  std::string name = (fs::absolute(parent) / prefix).string() + "XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw core::system_error(errno, "could not make \"" + name + "\"");
  return name;
}

core::File make_lock(const fs::path& scratch) {
  core::File lock = core::File::open(scratch / lock_name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (::flock(lock.descriptor(), LOCK_EX) != 0)
    throw core::system_error(errno, "could not lock \"" + (scratch / lock_name).string() + "\"");
  return lock;
}

// Whether a lock is still that of the directory. Between the moments at which it is opened and locked another drill may
// have had it, and have removed the directory, or kept it.
bool is_lock_of(const core::File& lock, const fs::path& scratch) {
  struct stat mine {};
  struct stat there {};
  return ::fstat(lock.descriptor(), &mine) == 0 && ::lstat((scratch / lock_name).c_str(), &there) == 0 &&
         mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

// The lock of a drill whose process has ended. Absent: it lives, or it is no directory of a drill, or not ours: in it
// there is the number of a process that will be ended.
std::optional<core::File> lock_of_dead(const fs::path& scratch) {
  struct stat status {};
  if (::lstat(scratch.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() ||
      (status.st_mode & 077) != 0)
    return {};
  try {
    core::File lock = core::File::open(scratch / lock_name, O_RDWR | O_NOFOLLOW);
    if (::flock(lock.descriptor(), LOCK_EX | LOCK_NB) != 0 || !is_lock_of(lock, scratch)) return {};
    return lock;
  } catch (const core::Error&) { // there is none
    return {};
  }
}

} // namespace

DrillScratch::DrillScratch(const fs::path& parent) : path_(make_directory(parent)), lock_(make_lock(path_)) {
  while (!is_lock_of(lock_, path_)) { // taken for that of a dead one
    path_ = make_directory(parent);
    lock_ = make_lock(path_);
  }
}

void DrillScratch::keep() noexcept {
  std::error_code ignored;
  fs::remove(path_ / lock_name, ignored);
}

void DrillScratch::remove() noexcept {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void remove_dead_drills(const fs::path& parent, const StopServer& stop_server,
                        const std::function<void(const std::string&)>& said) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().filename().string().starts_with(prefix)) found.push_back(fs::absolute(entry->path()));
  for (const fs::path& scratch : found) {
    const auto lock = lock_of_dead(scratch);
    if (!lock) continue;
    if (!stop_server(DrillScratch::data_of(scratch))) {
      said("WARNING: a drill that was killed has left a server in \"" + scratch.string() +
           "\", which could not be stopped");
      continue;
    }
    fs::remove_all(scratch, error);
    said(error ? "WARNING: could not remove \"" + scratch.string() + "\", which a drill has left that was killed"
               : "removed \"" + scratch.string() + "\", which a drill has left that was killed");
  }
}

} // namespace dbops::cli
