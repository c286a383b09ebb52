#include "cli/commands/watch.h"

#include "cli/exit_status.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/watch_display.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace dbops::cli {

namespace {

using core::Seconds;
using core::SteadyTime;
using std::chrono::steady_clock;

constexpr Seconds bars_interval(1);
constexpr Seconds lines_interval(10);     // a log of a day's job is to stay readable
constexpr Seconds unnotified_interval(1); // an end is to be seen within a second also where nothing tells of it
constexpr Seconds notified_delay(0.1);    // a look for many notifications at once
constexpr Seconds first_retry(1);
constexpr Seconds longest_retry(30);

WatchStyle style_of(const WatchCommand& command, const Terminal& terminal) {
  if (command.json) return WatchStyle::json;
  if (!terminal.interactive) return WatchStyle::lines;
  return command.once ? WatchStyle::blocks : WatchStyle::bars;
}

WatchDisplayOptions display_options(const WatchCommand& command, const Terminal& terminal) {
  WatchDisplayOptions options;
  options.style = style_of(command, terminal);
  options.interval = command.interval                    ? Seconds(*command.interval)
                     : options.style == WatchStyle::bars ? bars_interval
                                                         : lines_interval;
  if (command.jobs.empty()) options.when_empty = "No job to do; waiting for one. Ctrl-C ends this.";
  return options;
}

SteadyTime in(Seconds time) {
  return steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(time);
}

class Watch {
 public:
  Watch(const WatchCommand& command, const ConnectionSettings& settings)
      : command_(command), connector_(settings), source_(command.jobs) {}

  int run();

 private:
  int run_until_done();
  void attach(Connection connection);
  void look();
  void require_named(const Snapshot& snapshot) const;
  void wait_for_news();
  void reconnect(const std::string& why);
  Connection connect_again();
  Wake wait(int descriptor, std::optional<SteadyTime> until);
  [[nodiscard]] bool is_done() const;
  [[nodiscard]] int exit_status() const;

  const WatchCommand& command_;
  Connector connector_;
  ProgressSource source_;
  std::optional<Connection> connection_;
  bool listening_ = false;
  Snapshot seen_;
  WatchDisplayOptions options_;
  std::unique_ptr<WatchDisplay> display_;
  std::optional<Signals> signals_;
};

// Signals are caught once there is a connection and a first answer: until then Ctrl-C needs no care.
int Watch::run() {
  const Terminal terminal = Terminal::of_standard_output();
  options_ = display_options(command_, terminal);
  attach(connector_.connect());
  seen_ = source_.read(*connection_);
  require_named(seen_);
  display_ = make_watch_display(options_, terminal);
  if (command_.once) {
    if (seen_.jobs.empty()) fmt::print(stderr, "dbops: no job is queued, running or paused\n");
    display_->show(seen_);
    return exit_status();
  }
  signals_.emplace();
  connection_->wait_with([this](int socket) { wait(socket, std::nullopt); });
  try {
    return run_until_done();
  } catch (const Interrupted& interruption) {
    display_->leave();
    if (options_.style == WatchStyle::bars) write_to_standard_output("\n"); // the terminal has echoed ^C
    return interruption.exit_status();
  } catch (...) {
    display_->leave(); // the message comes below what is drawn
    throw;
  }
}

int Watch::run_until_done() {
  display_->show(seen_);
  while (!is_done()) {
    try {
      wait_for_news();
      look();
    } catch (const ConnectionError& error) {
      reconnect(error.what());
    } catch (const SqlError& error) {
      if (!error.is_transient()) throw;
      reconnect(error.what());
    }
  }
  display_->leave();
  return exit_status();
}

void Watch::attach(Connection connection) {
  connection_.emplace(std::move(connection));
  connection_->ignore_notices();
  if (signals_) connection_->wait_with([this](int socket) { wait(socket, std::nullopt); });
  listening_ = source_.attach(*connection_);
}

void Watch::look() {
  seen_ = source_.read(*connection_);
  require_named(seen_);
  display_->show(seen_);
}

// A job may not exist, or have been removed with its history, or belong to somebody else.
void Watch::require_named(const Snapshot& snapshot) const {
  for (const std::int64_t id : command_.jobs) {
    const bool found =
        std::ranges::any_of(snapshot.jobs, [id](const WatchedJob& job) { return job.progress.job_id == id; });
    if (!found) throw no_such_job(id, *connection_);
  }
}

// Returns when it is time to look again: an interval is over, or somebody told of a change of state.
void Watch::wait_for_news() {
  const Seconds interval = listening_ ? options_.interval : std::min(options_.interval, unnotified_interval);
  SteadyTime until = in(interval);
  for (;;) {
    const Wake wake = wait(connection_->socket(), until);
    if (wake == Wake::timeout) return;
    if (connection_->take_notifications()) until = std::min(until, in(notified_delay));
  }
}

// With back-off, for as long as it takes.
void Watch::reconnect(const std::string& why) {
  std::string problem = why;
  connection_.reset();
  for (Seconds delay = first_retry;; delay = std::min(2 * delay, longest_retry)) {
    display_->notice(fmt::format("connection lost, next try in {:.0f} s: {}", delay.count(), problem));
    wait(-1, in(delay));
    try {
      attach(connect_again());
      display_->notice("connected again");
      look();
      return;
    } catch (const ConnectionError& error) {
      problem = error.what();
    } catch (const SqlError& error) {
      if (!error.is_transient()) throw;
      problem = error.what();
    }
  }
}

Connection Watch::connect_again() {
  const Signals::AtOnce at_once;
  return connector_.reconnect();
}

Wake Watch::wait(int descriptor, std::optional<SteadyTime> until) {
  for (;;) {
    const Wake wake = signals_->wait(descriptor, until);
    if (wake == Wake::input || wake == Wake::timeout) return wake;
    if (wake == Wake::suspend) {
      display_->leave();
      Signals::suspend();
    }
    display_->redraw();
  }
}

bool Watch::is_done() const {
  return !command_.jobs.empty() &&
         std::ranges::all_of(seen_.jobs, [](const WatchedJob& job) { return is_finished(job.progress); });
}

int Watch::exit_status() const {
  int status = exit_success;
  for (const WatchedJob& job : seen_.jobs) {
    if (!is_finished(job.progress))
      status = std::max<int>(status, exit_unfinished);
    else if (!has_succeeded(job.progress))
      return exit_job;
  }
  return status;
}

} // namespace

int run(const WatchCommand& command, const ConnectionSettings& settings) {
  return Watch(command, settings).run();
}

} // namespace dbops::cli
