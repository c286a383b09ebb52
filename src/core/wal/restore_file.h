// The file that restore_command is to make: there as a whole, or not at all.
#pragma once

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/codec/zstd.h"

#include <filesystem>

namespace dbops::core {

// It could not be written here, whatever the repositories have.
class RestoreFileError : public Error {
 public:
  explicit RestoreFileError(const Error& cause) : Error(cause) {}
};

// Written under a temporary name beside `target`, "<target>.dbops-<random>", which is removed with the object unless
// commit() was called. A process that died leaves its temporary file, and the next one for the same target removes it:
// it knows by a lock that its writer is gone. Not fsynced: recovery asks again after a crash. Throws RestoreFileError.
class RestoreFile {
 public:
  explicit RestoreFile(std::filesystem::path target);
  // Is `name` that of a temporary file for a target of name `target`?
  static bool is_temporary_of(std::string_view name, std::string_view target);
  ~RestoreFile();
  RestoreFile(const RestoreFile&) = delete;
  RestoreFile& operator=(const RestoreFile&) = delete;

  // Forgets what was written.
  void restart();
  void write(ByteView bytes);
  [[nodiscard]] std::uint64_t written() const noexcept { return written_; }
  // What was written there, at most `length` bytes.
  [[nodiscard]] Bytes read(std::uint64_t offset, std::size_t length) const;
  [[nodiscard]] Bytes start(std::size_t length) const { return read(0, length); }
  // Takes a finished file instead of what was written. False, and nothing has changed: it is not there, or on another
  // file system.
  bool adopt(const std::filesystem::path& finished);
  // Gives the file its name, over whatever has it.
  void commit();

  // From now on the process may be ended by a signal whose handler calls the other function, which removes the
  // temporary file of the object made next. For processes that make one at a time.
  static void expect_signals() noexcept;
  // Async-signal-safe.
  static void remove_in_signal_handler() noexcept;

 private:
  std::filesystem::path target_, temporary_;
  File file_;
  std::uint64_t written_ = 0;
};

} // namespace dbops::core
