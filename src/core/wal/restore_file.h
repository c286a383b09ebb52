// The file that restore_command is to make: there as a whole, or not at all.
#pragma once

#include "core/base/file.h"
#include "core/codec/zstd.h"

#include <filesystem>

namespace dbops::core {

// Written under a temporary name beside `target`, "<target>.dbops-<random>", which is removed with the object unless
// commit() was called. A process that died leaves its temporary file, and the next one for the same target removes it:
// it knows by a lock that its writer is gone. Not fsynced: recovery asks again after a crash.
class RestoreFile {
 public:
  // Throws Error from errno.
  explicit RestoreFile(std::filesystem::path target);
  ~RestoreFile();
  RestoreFile(const RestoreFile&) = delete;
  RestoreFile& operator=(const RestoreFile&) = delete;

  // Forgets what was written.
  void restart();
  void write(ByteView bytes);
  [[nodiscard]] std::uint64_t written() const noexcept { return written_; }
  // The first bytes, at most `length`.
  [[nodiscard]] Bytes start(std::size_t length) const;
  // Gives the file its name, over whatever has it.
  void commit();

  // For a signal handler that ends the process: removes the temporary file, if there is one. Async-signal-safe.
  static void remove_in_signal_handler() noexcept;

 private:
  std::filesystem::path target_, temporary_;
  File file_;
  std::uint64_t written_ = 0;
};

} // namespace dbops::core
