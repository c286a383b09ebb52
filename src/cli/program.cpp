#include "cli/program.h"

#include "core/base/error.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>

extern char** environ;

namespace dbops::cli {

namespace {

// What a child does before it becomes the program.
class Spawn {
 public:
  Spawn() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    // The threads of this program block all signals and it ignores SIGPIPE: a child would inherit both.
    sigset_t none, pipe;
    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &pipe);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~Spawn() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
  }
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;

  pid_t start(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (const std::string& word : words)
      arguments.push_back(const_cast<char*>(word.c_str())); // posix_spawn() does not change them
    arguments.push_back(nullptr);
    pid_t pid = 0;
    const int error = ::posix_spawnp(&pid, arguments[0], &files, &attributes, arguments.data(), environ);
    if (error != 0) throw core::system_error(error, "could not run \"" + words[0] + "\"");
    return pid;
  }

  posix_spawn_file_actions_t files{};

 private:
  posix_spawnattr_t attributes{};
};

int wait_for(pid_t pid, const std::string& name) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) throw core::system_error(errno, "could not wait for \"" + name + "\"");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

} // namespace

int run_program(const std::vector<std::string>& words, const std::filesystem::path& output) {
  Spawn spawn;
  posix_spawn_file_actions_addopen(&spawn.files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&spawn.files, STDOUT_FILENO, output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&spawn.files, STDOUT_FILENO, STDERR_FILENO);
  return wait_for(spawn.start(words), words[0]);
}

std::optional<std::string> version_line(const std::string& program) {
  try {
    Program run({program, "--version"}, Program::Pipe::output);
    core::Bytes buffer(1000);
    std::string text;
    while (const std::size_t count = run.read(buffer))
      text += core::as_text(core::ByteView(buffer).first(count));
    if (run.wait() == 0) return text.substr(0, text.find('\n'));
  } catch (const core::Error&) { // there is no such program
  }
  return {};
}

std::optional<unsigned> major_version(std::string_view line) {
  constexpr std::string_view mark = "(PostgreSQL) ";
  const std::size_t at = line.find(mark);
  if (at == std::string_view::npos) return {};
  line.remove_prefix(at + mark.size());
  unsigned major = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), major);
  return error == std::errc() ? std::optional(major) : std::nullopt;
}

Program::Program(const std::vector<std::string>& words, Pipe pipe) : name_(words[0]) {
  Spawn spawn;
  std::array<int, 2> ends{-1, -1};
  if (pipe != Pipe::none) {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw core::system_error(errno, "could not make a pipe");
    const bool output = pipe == Pipe::output;
    posix_spawn_file_actions_adddup2(&spawn.files, ends[output ? 1 : 0], output ? STDOUT_FILENO : STDIN_FILENO);
    pipe_ = ends[output ? 0 : 1];
  }
  try {
    pid_ = spawn.start(words);
  } catch (...) {
    for (const int end : ends)
      if (end >= 0) ::close(end);
    throw;
  }
  if (pipe != Pipe::none) ::close(pipe == Pipe::output ? ends[1] : ends[0]);
}

// Told to end before it sees the end of its input, which must not look like all of it.
Program::~Program() {
  if (pid_ > 0) ::kill(pid_, SIGTERM);
  close_pipe();
  if (pid_ < 0) return;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

void Program::close_pipe() noexcept {
  if (pipe_ >= 0) ::close(pipe_);
  pipe_ = -1;
}

std::size_t Program::read(std::span<std::byte> buffer) {
  for (;;) {
    const ssize_t count = ::read(pipe_, buffer.data(), buffer.size());
    if (count >= 0) return std::size_t(count);
    if (errno != EINTR) throw core::system_error(errno, "could not read from \"" + name_ + "\"");
  }
}

bool Program::write(core::ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(pipe_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EPIPE) return false;
    if (count < 0) throw core::system_error(errno, "could not write to \"" + name_ + "\"");
    bytes = bytes.subspan(std::size_t(count));
  }
  return true;
}

int Program::wait() {
  close_pipe();
  // Not reaped before pid_ is forgotten: it cannot be another process's by then.
  siginfo_t ended{};
  while (::waitid(P_PID, id_t(pid_.load()), &ended, WEXITED | WNOWAIT) < 0)
    if (errno != EINTR) throw core::system_error(errno, "could not wait for \"" + name_ + "\"");
  return wait_for(pid_.exchange(-1), name_);
}

void Program::interrupt() noexcept {
  if (const pid_t pid = pid_; pid > 0) ::kill(pid, SIGTERM);
}

} // namespace dbops::cli
