#include "core/wal/restore_file.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view infix = ".dbops-";

// The one temporary file of this process, for the signal handler. Set before `has_temporary`, which it is valid under.
std::array<char, 4096> temporary_name{};
std::atomic<bool> has_temporary{false}, signals_expected{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void remember(const fs::path& path) noexcept {
  if (!signals_expected || path.native().size() >= temporary_name.size()) return;
  has_temporary = false;
  std::memcpy(temporary_name.data(), path.c_str(), path.native().size() + 1);
  has_temporary = true;
}

[[noreturn]] void fail(const std::string& what) {
  throw RestoreFileError(system_error(errno, what));
}

// The same for functions that throw by themselves.
template <class Work>
auto locally(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const Error& error) {
    throw RestoreFileError(error);
  }
}

fs::path temporary_for(const fs::path& target) {
  std::array<std::byte, 8> suffix{};
  if (::getrandom(suffix.data(), suffix.size(), 0) != ssize_t(suffix.size())) fail("could not get random bytes");
  return target.string() + std::string(infix) + to_hex(suffix);
}

// What processes left that did not come to their end. Nothing depends on it, so errors are of no interest.
void remove_abandoned(const fs::path& target) {
  const fs::path directory = target.has_parent_path() ? target.parent_path() : fs::path(".");
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (!RestoreFile::is_temporary_of(entry->path().filename().string(), target.filename().string())) continue;
    const int fd = ::open(entry->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlink(entry->path().c_str());
    ::close(fd);
  }
}

} // namespace

RestoreFile::RestoreFile(fs::path target)
    : target_(std::move(target)), temporary_(temporary_for(target_)), file_(locally([&] {
        remove_abandoned(target_);
        remember(temporary_); // before it is there
        return File::open(temporary_, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
      })) {
  // Where locks do not exist nobody else gets one either, and the file of a process that died stays.
  (void)::flock(file_.descriptor(), LOCK_EX | LOCK_NB);
}

RestoreFile::~RestoreFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  if (signals_expected) has_temporary = false;
}

bool RestoreFile::is_temporary_of(std::string_view name, std::string_view target) {
  return name.starts_with(target) && name.substr(target.size()).starts_with(infix);
}

void RestoreFile::expect_signals() noexcept {
  signals_expected = true;
}

void RestoreFile::restart() {
  if (::ftruncate(file_.descriptor(), 0) != 0 || ::lseek(file_.descriptor(), 0, SEEK_SET) != 0)
    fail("could not truncate file \"" + temporary_.string() + "\"");
  written_ = 0;
}

void RestoreFile::write(ByteView bytes) {
  locally([&] { file_.write(bytes); });
  written_ += bytes.size();
}

Bytes RestoreFile::read(std::uint64_t offset, std::size_t length) const {
  Bytes bytes(length);
  bytes.resize(locally([&] { return file_.read_at(offset, bytes); }));
  return bytes;
}

bool RestoreFile::adopt(const fs::path& finished) {
  if (::rename(finished.c_str(), temporary_.c_str()) != 0) return false;
  file_ = locally([&] { return File::open(temporary_, O_RDWR | O_NOFOLLOW); });
  written_ = file_.size();
  return true;
}

void RestoreFile::commit() {
  // A data directory that the group may read has files that it may read.
  struct stat directory {};
  const fs::path parent = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
  if (::stat(parent.c_str(), &directory) == 0 && (directory.st_mode & S_IRGRP) != 0)
    (void)::fchmod(file_.descriptor(), S_IRUSR | S_IWUSR | S_IRGRP);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0)
    fail("could not rename a file to \"" + target_.string() + "\"");
  if (signals_expected) has_temporary = false;
  temporary_.clear();
}

void RestoreFile::remove_in_signal_handler() noexcept {
  if (has_temporary) ::unlink(temporary_name.data());
}

} // namespace dbops::core
