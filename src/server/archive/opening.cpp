#include "server/archive/opening.h"

namespace dbops::server::archive {

namespace {

using core::milliseconds;

constexpr milliseconds look_time{1000}; // longest wait for files that answer as a rule
constexpr milliseconds long_time{10'000};

bool same_files(const Settings& left, const Settings& right) {
  return left.credentials_file == right.credentials_file && left.key_file == right.key_file;
}

} // namespace

std::optional<Settings> SettingsWatch::read(const ThreadEvent& event) {
  Settings now = current_settings();
  if (now.credentials_file.empty() && now.key_file.empty()) return now;
  if (auto seen = look_.take()) seen_ = std::move(seen);
  if (look_.running() && !same_files(looked_for_, now)) look_.stop(thread_clock().steady_now());
  // One that is under way still has had its time.
  if (!look_.running()) {
    looked_for_ = now;
    look_.start(
        [settings = now](const std::stop_token&) mutable {
          stamp_files(settings);
          return settings;
        },
        event);
    const core::SteadyTime end = thread_clock().steady_now() + look_time;
    std::optional<Settings> seen;
    while (!(seen = look_.take()) && thread_clock().steady_now() < end)
      if (!event.wait(milliseconds(100))) break;
    if (seen) seen_ = std::move(seen);
  }
  if (!seen_ || !same_files(*seen_, now)) return std::nullopt;
  now.credentials_stamp = seen_->credentials_stamp;
  now.key_stamp = seen_->key_stamp;
  return now;
}

void Opening::start(const std::string& url, const Settings& settings, const Cluster& cluster,
                    const ThreadEvent& event) {
  started_ = thread_clock().steady_now();
  told_ = false;
  task_.start(
      [url, settings, cluster](const std::stop_token&) {
        Result result;
        try {
          result.access = open_repository(url, settings, cluster);
        } catch (...) {
          result.failure = describe_thread_failure();
        }
        return result;
      },
      event);
}

bool Opening::takes_long() {
  if (!running() || told_ || thread_clock().steady_now() - started_ < long_time) return false;
  told_ = true;
  return true;
}

ThreadFailure no_answer() {
  return {.kind = core::ErrorKind::unavailable,
          .message = "a file does not answer: the store's directory, the key file or the credentials file",
          .hint = "Look at the file systems that they are on."};
}

} // namespace dbops::server::archive
