// A POSIX file descriptor that closes itself, and reads and writes that are complete.
#pragma once

#include "core/base/bytes.h"

#include <filesystem>
#include <optional>

namespace dbops::core {

class File {
 public:
  // flags: as open(2), O_CLOEXEC is added. Throws Error from errno, naming the path.
  static File open(const std::filesystem::path& path, int flags, unsigned mode = 0600);
  // Absent when there is no such file.
  static std::optional<File> open_if_exists(const std::filesystem::path& path, int flags);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  [[nodiscard]] std::uint64_t size() const;
  // Number of bytes read: less than buffer.size() only at the end of the file.
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> buffer) const;
  void write(ByteView bytes);
  void write_at(std::uint64_t offset, ByteView bytes);
  void sync();
  // Has the kernel begin to write these bytes to the disk, so that less is left for an fsync; does not wait, makes
  // nothing durable.
  void begin_write_back(std::uint64_t offset, std::uint64_t length) const;
  // Waits until these bytes are written; makes nothing durable either. Throws what a later fsync would not say again.
  void finish_write_back(std::uint64_t offset, std::uint64_t length) const;
  // Closes, and reports what close(2) reports (delayed write errors on network file systems).
  void close();
  [[nodiscard]] int descriptor() const noexcept { return fd_; }

 private:
  File(int fd, std::filesystem::path path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::filesystem::path path_;
};

// Makes the entries of a directory durable. Throws Error.
void sync_directory(const std::filesystem::path& directory);

// A whole file of at most `limit` bytes. Throws Error(configuration) when it is larger.
Bytes read_file(const std::filesystem::path& path, std::uint64_t limit);

} // namespace dbops::core
