// Other programs.
#pragma once

#include "core/base/bytes.h"

#include <sys/types.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::cli {

// words: the program (looked for in PATH when it has no slash) and its arguments. What it prints goes into the file,
// behind what is there. Returns its exit status, 128 and the signal when it died by one. Throws core::Error when it
// cannot be started.
int run_program(const std::vector<std::string>& words, const std::filesystem::path& output);

// The first line that "PROGRAM --version" prints. Absent: it cannot be run.
std::optional<std::string> version_line(const std::string& program);
// 17 of "pg_ctl (PostgreSQL) 17.2 (Debian 17.2-1)"; absent: another kind of line.
std::optional<unsigned> major_version(std::string_view line);

// One that runs beside this one, with a pipe from its output or to its input. The rest of its streams are this
// program's. It is told to end (SIGTERM) when this is destroyed before wait().
class Program {
 public:
  enum class Pipe { output, input, none };
  // Throws core::Error when it cannot be started.
  Program(const std::vector<std::string>& words, Pipe pipe);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Waits for at least one byte; 0: it has closed its output.
  std::size_t read(std::span<std::byte> buffer);
  // False: it does not read any more.
  bool write(core::ByteView bytes);
  // Closes the pipe, and waits for the end. As run_program().
  int wait();
  // Tells it to end (SIGTERM), from any thread.
  void interrupt() noexcept;

 private:
  void close_pipe() noexcept;
  std::string name_;
  std::atomic<pid_t> pid_{-1};
  int pipe_ = -1;
};

} // namespace dbops::cli
