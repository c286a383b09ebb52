#include "core/backup/restore_claim.h"

#include "core/base/error.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t largest_lock_file = 1 << 16; // bytes
constexpr const char* aside_suffix = ".dbops";
constexpr std::string_view restore_line =
    "\ndbops restore\n"; // in the lock file, where a server has the time of its start
constexpr const char* restore_hint = "Wait until it has ended, interrupt it, or restore into another directory.";

struct Owner {
  enum class Kind { none, server, restore, unnamed };
  Kind kind = Kind::none;
  pid_t process = 0;
};

bool is_alive(pid_t process) {
  return ::kill(process, 0) == 0 || errno == EPERM;
}

// The process that has the directory. That of a server without a postmaster is negative in the file.
//
// A file that names none is a server's that is starting, between its creation and its first line, or was left by one
// that died there: nothing tells them apart, and PostgreSQL does not start beside it either (miscinit.c,
// CreateLockFile).
//
// A server may have any number, ours and that of who has started us as well: one in another container has its own
// numbers. A restore has the directory locked as long as it lives: with the lock in our hands its file is left from one
// that was killed, whoever has its number now. Where the file system has no locks, our own number, or that of who has
// started us, is left from a restore before: in containers they are the same every time.
Owner living_owner(const fs::path& lock_file, bool locked) {
  if (!fs::exists(lock_file)) return {};
  const Bytes content = read_file(lock_file, largest_lock_file);
  const std::string_view text = as_text(content);
  const std::string_view line = text.substr(0, text.find('\n'));
  pid_t process = 0;
  const auto [end, problem] = std::from_chars(line.data(), line.data() + line.size(), process);
  const bool whole = line.size() < text.size() && problem == std::errc() && end == line.data() + line.size();
  if (!whole || process == 0) return {Owner::Kind::unnamed, 0};
  process = std::abs(process);
  const bool restore = text.find(restore_line) != std::string_view::npos;
  if (restore && (locked || process == ::getpid() || process == ::getppid())) return {};
  if (!is_alive(process)) return {};
  return {restore ? Owner::Kind::restore : Owner::Kind::server, process};
}

Error is_owned(const fs::path& data_directory, const Owner& owner) {
  const std::string process = std::to_string(owner.process);
  const std::string lock_file = (data_directory / server_lock_file).string();
  if (owner.kind == Owner::Kind::unnamed)
    return {ErrorKind::configuration, "\"" + lock_file + "\" names no process: a server may be starting there",
            "If none is, the file is left from a start that was cut off: remove it, and run the same command again."};
  if (owner.kind == Owner::Kind::restore)
    return {ErrorKind::conflict,
            "another restore into \"" + data_directory.string() + "\" is running, process " + process, restore_hint};
  return {ErrorKind::configuration, "a server is running in \"" + data_directory.string() + "\", process " + process,
          "Stop it first. If that process is no server, remove \"" + lock_file + "\"."};
}

} // namespace

RestoreClaim::~RestoreClaim() {
  try {
    release();
  } catch (const std::exception&) { // it names a process that ends: no server minds it
  }
}

bool RestoreClaim::is_locked(const fs::path& directory) const {
  const fs::path place = fs::weakly_canonical(directory);
  return std::ranges::any_of(locked_, [&](const auto& locked) { return locked.first == place; });
}

void RestoreClaim::lock(const fs::path& directory) {
  if (is_locked(directory)) return;
  const fs::path place = fs::weakly_canonical(directory);
  File file = File::open(place, O_RDONLY | O_DIRECTORY);
  while (::flock(file.descriptor(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK)
      throw Error(ErrorKind::conflict, "another restore into \"" + directory.string() + "\" is running", restore_hint);
    // Some file systems of networks lock no directories: there, the server's lock file alone keeps others out.
    if (errno == EBADF || errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL) return;
    throw system_error(errno, "could not lock \"" + directory.string() + "\"");
  }
  locked_.emplace_back(place, std::move(file));
}

void RestoreClaim::require_no_server(const fs::path& data_directory) const {
  const Owner owner = living_owner(data_directory / server_lock_file, is_locked(data_directory));
  if (owner.kind != Owner::Kind::none) throw is_owned(data_directory, owner);
}

void RestoreClaim::hold_off_servers(const fs::path& data_directory) {
  const fs::path path = data_directory / server_lock_file;
  require_no_server(data_directory);
  if (fs::exists(path)) {
    // Of a server that has died. It is moved first and looked at again: one may have started since.
    fs::path aside = path;
    aside += aside_suffix;
    fs::rename(path, aside);
    if (const Owner owner = living_owner(aside, is_locked(data_directory)); owner.kind != Owner::Kind::none) {
      fs::rename(aside, path);
      throw is_owned(data_directory, owner);
    }
    fs::remove(aside);
  }
  content_ = std::to_string(::getpid()) + "\n" + data_directory.string() + std::string(restore_line);
  try {
    File file = File::open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    lock_file_ = path;
    file.write(as_bytes(content_));
    file.close();
  } catch (const Error&) {
    if (lock_file_.empty()) {
      require_no_server(data_directory);
    } else { // no space for it, say: a part of it would keep others out
      std::error_code ignored;
      fs::remove(std::exchange(lock_file_, {}), ignored);
    }
    throw;
  }
}

void RestoreClaim::require_held() const {
  if (fs::exists(lock_file_) && as_text(read_file(lock_file_, largest_lock_file)) == content_) return;
  throw Error(ErrorKind::conflict,
              "\"" + lock_file_.string() + "\", which keeps servers out during the restore, was removed or replaced",
              "Make sure that no server and no other restore uses the directory, and run the same command again.");
}

void RestoreClaim::release() {
  if (lock_file_.empty()) return;
  const fs::path path = std::exchange(lock_file_, {});
  if (!fs::exists(path)) return;
  if (as_text(read_file(path, largest_lock_file)) == content_) fs::remove(path);
}

} // namespace dbops::core
