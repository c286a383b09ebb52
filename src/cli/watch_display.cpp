#include "cli/watch_display.h"

#include "cli/local_time.h"
#include "core/text/change_filter.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <set>

namespace dbops::cli {

namespace {

class Bars final : public WatchDisplay {
 public:
  Bars(const Terminal& terminal, std::string when_empty) : terminal_(terminal), screen_(terminal) {
    view_.when_empty = std::move(when_empty);
  }

  // A job that has finished is written above for good, the others are redrawn.
  void show(const Snapshot& snapshot) override {
    std::vector<core::Line> above;
    view_.jobs.clear();
    view_.not_shown = snapshot.not_shown;
    view_.notice.clear();
    for (const WatchedJob& job : snapshot.jobs) {
      if (!is_finished(job.progress)) {
        written_.erase(job.progress.job_id); // it may have been tried again
        view_.jobs.push_back(job.progress);
      } else if (written_.insert(job.progress.job_id).second) {
        const std::size_t columns = Terminal::size().columns;
        for (core::Line& line : block_view(job.progress, columns, terminal_.charset))
          above.push_back(std::move(line));
        above.emplace_back();
      }
    }
    draw(above);
  }

  void notice(const std::string& text) override {
    view_.notice = text;
    draw({});
  }

  void redraw() override { draw({}); }
  void leave() override { screen_.leave(); }

 private:
  void draw(const std::vector<core::Line>& above) {
    screen_.draw(above, live_lines(view_, Terminal::size(), terminal_.charset));
  }

  Terminal terminal_;
  LiveScreen screen_;
  core::LiveView view_;
  std::set<std::int64_t> written_; // jobs
};

class Blocks final : public WatchDisplay {
 public:
  explicit Blocks(const Terminal& terminal) : terminal_(terminal) {}

  void show(const Snapshot& snapshot) override {
    std::vector<core::Line> lines;
    for (const WatchedJob& job : snapshot.jobs) {
      if (!lines.empty()) lines.emplace_back();
      for (core::Line& line : block_view(job.progress, Terminal::size().columns, terminal_.charset))
        lines.push_back(std::move(line));
    }
    print(terminal_, lines);
  }
  void notice(const std::string& text) override { fmt::print(stderr, "dbops: {}\n", text); }

 private:
  Terminal terminal_;
};

// Notices go to standard error: what reads the output is to find jobs there and nothing else.
class Stream : public WatchDisplay {
 public:
  explicit Stream(core::Seconds interval) : filter_(interval) {}

  void show(const Snapshot& snapshot) override {
    std::string text;
    const core::SteadyTime now = std::chrono::steady_clock::now();
    for (const WatchedJob& job : snapshot.jobs)
      if (filter_.is_due(job.progress, now)) text += line_of(job) + "\n";
    if (!text.empty()) write_to_standard_output(text);
  }
  void notice(const std::string& text) override { fmt::print(stderr, "dbops: {}\n", text); }

 private:
  [[nodiscard]] virtual std::string line_of(const WatchedJob& job) const = 0;

  core::ChangeFilter filter_;
};

class Lines final : public Stream {
 public:
  using Stream::Stream;

 private:
  [[nodiscard]] std::string line_of(const WatchedJob& job) const override {
    return local_time_now() + "  " + plain_view(job.progress);
  }
};

class JsonLines final : public Stream {
 public:
  using Stream::Stream;

 private:
  [[nodiscard]] std::string line_of(const WatchedJob& job) const override { return dumped(job.json); }
};

} // namespace

std::unique_ptr<WatchDisplay> make_watch_display(const WatchDisplayOptions& options, const Terminal& terminal) {
  switch (options.style) {
  case WatchStyle::bars:
    return std::make_unique<Bars>(terminal, options.when_empty);
  case WatchStyle::blocks:
    return std::make_unique<Blocks>(terminal);
  case WatchStyle::json:
    return std::make_unique<JsonLines>(options.interval);
  case WatchStyle::lines:
    break;
  }
  return std::make_unique<Lines>(options.interval);
}

} // namespace dbops::cli
