#include "core/base/file.h"

#include "core/base/error.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace dbops::core {

namespace {

int open_retrying(const std::filesystem::path& path, int flags, unsigned mode) noexcept {
  int fd = -1;
  do
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

} // namespace

File File::open(const std::filesystem::path& path, int flags, unsigned mode) {
  const int fd = open_retrying(path, flags, mode);
  if (fd < 0) throw system_error(errno, "could not open file \"" + path.string() + "\"");
  return {fd, path};
}

std::optional<File> File::open_if_exists(const std::filesystem::path& path, int flags) {
  const int fd = open_retrying(path, flags, 0);
  if (fd >= 0) return File(fd, path);
  if (errno == ENOENT || errno == ENOTDIR) return {};
  throw system_error(errno, "could not open file \"" + path.string() + "\"");
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

std::uint64_t File::size() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) throw system_error(errno, "could not stat file \"" + path_.string() + "\"");
  return std::uint64_t(status.st_size);
}

std::size_t File::read_at(std::uint64_t offset, std::span<std::byte> buffer) const {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t count = ::pread(fd_, buffer.data() + done, buffer.size() - done, off_t(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error(errno, "could not read file \"" + path_.string() + "\"");
    if (count == 0) break;
    done += std::size_t(count);
  }
  return done;
}

void File::write(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error(errno, "could not write file \"" + path_.string() + "\"");
    bytes = bytes.subspan(std::size_t(count));
  }
}

void File::write_at(std::uint64_t offset, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_, bytes.data(), bytes.size(), off_t(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error(errno, "could not write file \"" + path_.string() + "\"");
    bytes = bytes.subspan(std::size_t(count));
    offset += std::uint64_t(count);
  }
}

void File::sync() {
  if (::fsync(fd_) != 0) throw system_error(errno, "could not fsync file \"" + path_.string() + "\"");
}

void File::begin_write_back(std::uint64_t offset, std::uint64_t length) const {
  // What fails here fails in fsync, too.
  (void)::sync_file_range(fd_, off_t(offset), off_t(length), SYNC_FILE_RANGE_WRITE);
}

void File::finish_write_back(std::uint64_t offset, std::uint64_t length) const {
  constexpr unsigned flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (::sync_file_range(fd_, off_t(offset), off_t(length), flags) != 0 && errno != ENOSYS && errno != EINVAL &&
      errno != ESPIPE && errno != EINTR)
    throw system_error(errno, "could not write file \"" + path_.string() + "\"");
}

void File::close() {
  // On Linux the descriptor is gone even when close(2) is interrupted.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR)
    throw system_error(errno, "could not close file \"" + path_.string() + "\"");
}

void sync_directory(const std::filesystem::path& directory) {
  File::open(directory, O_RDONLY | O_DIRECTORY).sync();
}

Bytes read_file(const std::filesystem::path& path, std::uint64_t limit) {
  const File file = File::open(path, O_RDONLY);
  Bytes bytes(std::size_t(std::min(file.size(), limit + 1)));
  bytes.resize(file.read_at(0, bytes));
  if (bytes.size() > limit)
    throw Error(ErrorKind::configuration,
                "file \"" + path.string() + "\" is larger than " + std::to_string(limit) + " bytes");
  return bytes;
}

} // namespace dbops::core
