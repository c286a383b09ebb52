#include "cli/signals.h"

#include "cli/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace dbops::cli {

namespace {

// The handler writes the signal's number into a pipe that the loop waits for, so that none comes between a look at a
// flag and the wait.
std::array<int, 2> signal_pipe{-1, -1};
volatile std::sig_atomic_t end_at_once = 0;

bool ends_the_command(int signal) {
  return signal == SIGINT || signal == SIGTERM || signal == SIGHUP;
}

void handle(int signal) {
  const int saved = errno;
  if (end_at_once != 0 && ends_the_command(signal)) {
    show_cursor_in_signal_handler();
    _exit(128 + signal);
  }
  const auto byte = static_cast<unsigned char>(signal);
  (void)!write(signal_pipe[1], &byte, 1); // full: more signals wait than anybody needs
  errno = saved;
}

int remaining_ms(std::optional<core::SteadyTime> until) {
  if (!until) return -1;
  const auto left = std::chrono::ceil<core::milliseconds>(*until - std::chrono::steady_clock::now());
  constexpr core::milliseconds longest = std::chrono::hours(24);
  return static_cast<int>(std::clamp(left, core::milliseconds(0), longest).count());
}

} // namespace

Signals::Signals() {
  if (pipe2(signal_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0)
    throw std::system_error(errno, std::generic_category(), "pipe2");
  struct sigaction action {};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART; // poll(2) returns all the same
  for (std::size_t i = 0; i < caught.size(); ++i) {
    sigaction(caught[i], nullptr, &before_[i]);
    // nohup and shells' background jobs ignore some for a reason.
    if (before_[i].sa_handler != SIG_IGN) sigaction(caught[i], &action, nullptr);
  }
}

Signals::~Signals() {
  for (std::size_t i = 0; i < caught.size(); ++i)
    sigaction(caught[i], &before_[i], nullptr);
  for (int& end : signal_pipe)
    close(std::exchange(end, -1));
}

std::optional<Wake> Signals::take_signal() const {
  unsigned char signal = 0;
  if (read(signal_pipe[0], &signal, 1) != 1) return std::nullopt;
  if (ends_the_command(signal)) throw Interrupted(signal);
  return signal == SIGTSTP ? Wake::suspend : Wake::resized;
}

Wake Signals::wait(int descriptor, std::optional<core::SteadyTime> until) {
  for (;;) {
    std::array<pollfd, 2> polled{
        {{.fd = signal_pipe[0], .events = POLLIN, .revents = 0}, {.fd = descriptor, .events = POLLIN, .revents = 0}}};
    const int ready = poll(polled.data(), polled.size(), remaining_ms(until));
    if (ready < 0 && errno != EINTR) throw std::system_error(errno, std::generic_category(), "poll");
    if (const std::optional<Wake> wake = take_signal()) return *wake;
    if (ready > 0 && polled[1].revents != 0) return Wake::input;
    if (ready == 0 && until && *until <= std::chrono::steady_clock::now()) return Wake::timeout;
  }
}

void Signals::suspend() {
  raise(SIGSTOP);
}

Signals::AtOnce::AtOnce() noexcept {
  end_at_once = 1;
}

Signals::AtOnce::~AtOnce() {
  end_at_once = 0;
}

} // namespace dbops::cli
