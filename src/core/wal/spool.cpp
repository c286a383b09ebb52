#include "core/wal/spool.h"

#include "core/base/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr const char* lock_name = "lock";          // locked by the process that fills the spool
constexpr const char* requests_name = "requests";  // a named pipe that it reads
constexpr std::string_view outage_prefix = "out-"; // and the number of the repository
constexpr std::time_t abandoned_after = 3600;      // seconds
constexpr std::time_t outage_time = 300;           // seconds

[[noreturn]] void refuse(const fs::path& path, const std::string& why) {
  throw Error(ErrorKind::configuration, "the spool directory \"" + path.string() + "\" " + why,
              "Name another place with --spool-dir, or turn the spool off with --spool-size 0.");
}

// Others may be able to make files beside ours in there, but not to rename or remove ours.
void check_base(const fs::path& base) {
  struct stat status {};
  if (::stat(base.c_str(), &status) != 0) throw system_error(errno, "could not stat \"" + base.string() + "\"");
  if (!S_ISDIR(status.st_mode)) refuse(base, "is no directory");
  if (status.st_uid != ::geteuid() && status.st_uid != 0) refuse(base, "belongs to another user");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (status.st_mode & S_ISVTX) == 0)
    refuse(base, "can be changed by other users");
}

void make_private_directory(const fs::path& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    throw system_error(errno, "could not create directory \"" + path.string() + "\"");
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) throw system_error(errno, "could not stat \"" + path.string() + "\"");
  if (!S_ISDIR(status.st_mode)) refuse(path, "is no directory");
  if (status.st_uid != ::geteuid()) refuse(path, "belongs to another user");
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) refuse(path, "can be read by other users");
}

// FNV-1a: distinguishes names, and is no protection; the directory's permissions are.
std::uint64_t hash(std::uint64_t state, std::string_view text) {
  for (const char c : text)
    state = (state ^ std::uint8_t(c)) * 0x100000001b3;
  return (state ^ 0xff) * 0x100000001b3; // ends the text
}

std::string boot_id() {
  try {
    return std::string(as_text(read_file("/proc/sys/kernel/random/boot_id", 4096)));
  } catch (const Error&) { // no Linux, or no /proc
    return {};
  }
}

template <class Use>
void for_each_file(const fs::path& directory, const Use& use) {
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    use(entry->path());
}

void remove_directory(const fs::path& directory) {
  for_each_file(directory, [](const fs::path& path) { ::unlink(path.c_str()); });
  ::rmdir(directory.c_str());
}

bool is_same_file(int fd, const fs::path& path) {
  struct stat open {
  }, named{};
  return ::fstat(fd, &open) == 0 && ::stat(path.c_str(), &named) == 0 && open.st_ino == named.st_ino &&
         open.st_dev == named.st_dev;
}

} // namespace

Spool::Spool(const fs::path& base, const std::string& key) {
  check_base(base);
  const fs::path mine = base / ("dbops-" + std::to_string(::geteuid()));
  make_private_directory(mine);
  path_ = mine / key;
  make_private_directory(path_);
}

std::string Spool::key_of(std::uint64_t system_identifier, const fs::path& data_directory,
                          const std::vector<std::string>& stores) {
  std::uint64_t state = hash(0xcbf29ce484222325, boot_id());
  state = hash(state, data_directory.string());
  for (const std::string& store : stores)
    state = hash(state, store);
  return std::to_string(system_identifier) + "-" + hex_field(state, 16);
}

bool Spool::has(const std::string& segment) const {
  return ::access(path_of(segment).c_str(), F_OK) == 0;
}

std::optional<std::uint64_t> Spool::progress_of(const std::string& segment) const {
  std::optional<std::uint64_t> size;
  for_each_file(path_, [&](const fs::path& path) {
    struct stat status {};
    if (RestoreFile::is_temporary_of(path.filename().string(), segment) && ::stat(path.c_str(), &status) == 0)
      size = std::uint64_t(status.st_size);
  });
  return size;
}

bool Spool::take(const std::string& segment, RestoreFile& out) const {
  const fs::path path = path_of(segment);
  const auto file = File::open_if_exists(path, O_RDONLY | O_NOFOLLOW);
  if (!file) return false;
  if (out.adopt(path)) return true;
  if (!has(segment)) return false; // taken away in the meantime
  out.restart();
  Bytes buffer(1 << 20);
  for (std::uint64_t offset = 0, size = file->size(); offset < size;) {
    const std::size_t count = file->read_at(offset, buffer);
    if (count == 0) break;
    out.write(ByteView(buffer).first(count));
    offset += count;
  }
  ::unlink(path.c_str());
  return true;
}

void Spool::keep_only(const std::vector<std::string>& segments) const {
  for_each_file(path_, [&](const fs::path& path) {
    const std::string name = path.filename().string();
    if (name == lock_name || name == requests_name || name.starts_with(outage_prefix)) return;
    const bool wanted = std::ranges::any_of(segments, [&](const std::string& segment) {
      return name == segment || RestoreFile::is_temporary_of(name, segment);
    });
    if (!wanted) ::unlink(path.c_str());
  });
}

void Spool::note_outage(std::size_t repository) const {
  const fs::path path = path_ / (std::string(outage_prefix) + std::to_string(repository));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return; // it costs time, no more
  ::futimens(fd, nullptr);
  ::close(fd);
}

bool Spool::is_out(std::size_t repository) const {
  struct stat status {};
  const fs::path path = path_ / (std::string(outage_prefix) + std::to_string(repository));
  if (::stat(path.c_str(), &status) != 0) return false;
  const std::time_t age = std::time(nullptr) - status.st_mtime;
  return age >= 0 && age < outage_time; // a clock that was set back ends it
}

bool Spool::tell(const std::string& segment) const {
  const int fd = ::open((path_ / requests_name).c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;                // ENXIO: nobody reads
  const std::string line = segment + "\n"; // short enough to be written as one
  const bool told = ::write(fd, line.data(), line.size()) == ssize_t(line.size());
  ::close(fd);
  return told;
}

std::optional<SpoolOwner> SpoolOwner::own(const Spool& spool) {
  const fs::path lock_path = spool.path() / lock_name, requests_path = spool.path() / requests_name;
  File lock = File::open(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW);
  if (::flock(lock.descriptor(), LOCK_EX | LOCK_NB) != 0) return {};
  if (!is_same_file(lock.descriptor(), lock_path)) return {}; // its owner removed it just before
  // A reader of its own keeps the pipe open when no writer is there.
  if (::mkfifo(requests_path.c_str(), 0600) != 0 && errno != EEXIST)
    throw system_error(errno, "could not create \"" + requests_path.string() + "\"");
  return SpoolOwner(std::move(lock), File::open(requests_path, O_RDWR | O_NONBLOCK | O_NOFOLLOW));
}

std::string SpoolOwner::wait(int milliseconds) const {
  pollfd polled{.fd = requests_.descriptor(), .events = POLLIN, .revents = 0};
  ::poll(&polled, 1, milliseconds);
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t count = 0; (count = ::read(requests_.descriptor(), buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), std::size_t(count));
  const auto end = text.rfind('\n');
  if (end == std::string::npos) return {};
  const auto start = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
  return text.substr(start == std::string::npos ? 0 : start + 1, end - (start == std::string::npos ? 0 : start + 1));
}

void SpoolOwner::remove(const Spool& spool) const {
  remove_directory(spool.path());
}

void remove_abandoned_spools(const Spool& mine) {
  for_each_file(mine.path().parent_path(), [&](const fs::path& path) {
    struct stat status {};
    if (path == mine.path() || ::lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) ||
        std::time(nullptr) - status.st_mtime < abandoned_after)
      return;
    const int lock = ::open((path / lock_name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0) return;
    if (::flock(lock, LOCK_EX | LOCK_NB) == 0) remove_directory(path);
    ::close(lock);
  });
}

} // namespace dbops::core
