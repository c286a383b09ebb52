// Signals as events of a loop that waits for a socket.
#pragma once

#include "core/base/clock.h"

#include <array>
#include <csignal>
#include <exception>
#include <optional>

namespace dbops::cli {

// Somebody wants the command to end: SIGINT, SIGTERM or SIGHUP.
class Interrupted : public std::exception {
 public:
  explicit Interrupted(int signal) : signal_(signal) {}
  [[nodiscard]] const char* what() const noexcept override { return "interrupted"; }
  // What a shell says of a process that died by the signal.
  [[nodiscard]] int exit_status() const noexcept { return 128 + signal_; }

 private:
  int signal_;
};

enum class Wake { input, timeout, resized, suspend };

// One at a time: a process has one set of handlers. The ones before come back at its end.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Until the descriptor can be read (-1: none), the time has come, the window has another size, or Ctrl-Z was typed.
  // Throws Interrupted.
  Wake wait(int descriptor, std::optional<core::SteadyTime> until);

  // Stops the process as Ctrl-Z would have; returns when it goes on.
  static void suspend();

  // While it lives, a signal that ends the command ends the process on the spot, with the cursor shown: for calls of
  // libpq that wait by themselves.
  class AtOnce {
   public:
    AtOnce() noexcept;
    ~AtOnce();
    AtOnce(const AtOnce&) = delete;
    AtOnce& operator=(const AtOnce&) = delete;
  };

 private:
  [[nodiscard]] std::optional<Wake> take_signal() const;

  static constexpr std::array<int, 5> caught{SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP};
  std::array<struct sigaction, caught.size()> before_{};
};

} // namespace dbops::cli
