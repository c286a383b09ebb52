#include "core/text/job_view.h"

#include "core/job/state.h"
#include "core/text/bar.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace dbops::core {

namespace {

constexpr std::size_t widest_bar = 50; // longer ones are no easier to read
constexpr std::size_t narrowest_bar = 10;
const std::string indent = "  ";

std::string percent_text(const JobProgress& job) {
  return job.percent ? fmt::format("{:.1f} %", *job.percent) : std::string();
}

double fraction(const JobProgress& job) {
  return job.percent.value_or(0) / 100;
}

// "1,234 rows", "1,234 of about 5,000 rows" while it is not known how many there will have been.
std::string rows_text(const JobProgress& job) {
  if (job.kind == "backup") {
    if (is_finished(job) || !job.rows_total) return byte_size(job.rows_done);
    return byte_size(job.rows_done) + " of about " + byte_size(std::max(job.rows_done, *job.rows_total));
  }
  if (is_finished(job) || !job.rows_total) return grouped(job.rows_done) + " rows";
  return fmt::format("{} of about {} rows", grouped(job.rows_done), grouped(std::max(job.rows_done, *job.rows_total)));
}

std::string one_rate(const JobProgress& job, double rate) {
  return job.kind == "backup" ? byte_size(static_cast<std::int64_t>(rate)) + "/s" : row_rate(rate);
}

// The rate now, or over the whole run where there is no now.
std::string rate_text(const JobProgress& job) {
  if (job.state == "running") return job.rows_per_second ? one_rate(job, *job.rows_per_second) : std::string();
  if (!is_finished(job) || !job.run_time || job.run_time->count() <= 0) return {};
  return one_rate(job, static_cast<double>(job.rows_done) / job.run_time->count());
}

std::string batches_text(const JobProgress& job) {
  if (!job.batch_time_p50 || !job.batch_time_p99) return {};
  return fmt::format("batch p50 {} p99 {}", duration_text(*job.batch_time_p50), duration_text(*job.batch_time_p99));
}

std::string set_aside_text(const JobProgress& job) {
  if (job.rows_failed == 0) return {};
  return fmt::format("{} {} set aside", grouped(job.rows_failed), job.rows_failed == 1 ? "row" : "rows");
}

// Rate, time and so on, most wanted first; empty ones left out.
std::vector<Span> facts(const JobProgress& job) {
  std::vector<Span> all{{rate_text(job)}};
  if (is_finished(job) && job.run_time) all.push_back({"took " + duration_text(*job.run_time)});
  if (job.eta) all.push_back({"ETA " + duration_text(*job.eta)});
  all.push_back({set_aside_text(job), Style::bad});
  all.push_back({batches_text(job)});
  if (is_finished(job) && job.wal_bytes > 0) all.push_back({byte_size(job.wal_bytes) + " of WAL"});
  std::erase_if(all, [](const Span& fact) { return fact.text.empty(); });
  return all;
}

// "10:41:02", with the date when it is not of the last hours.
std::string since_text(const JobProgress& job) {
  constexpr std::size_t date = 11; // "2026-11-21 "
  const bool recent = job.waited && *job.waited < std::chrono::hours(12);
  return recent && job.waiting_since.size() > date ? job.waiting_since.substr(date) : job.waiting_since;
}

// "waits 12 s (since 10:41:02) for replica lag 12.0 s, limit 10.0 s"; the time of day where there is room.
std::string wait_text(const JobProgress& job, bool time_of_day = true) {
  if (job.waiting_for.empty()) return {};
  const std::string time = job.waited ? " " + duration_text(*job.waited) : std::string();
  const bool since = time_of_day && !job.waiting_since.empty();
  return "waits" + time + (since ? " (since " + since_text(job) + ")" : "") + " for " + job.waiting_for;
}

std::string error_text(const JobProgress& job) {
  if (job.last_error.empty()) return {};
  const std::string sqlstate = job.last_sqlstate.empty() ? std::string() : " " + job.last_sqlstate;
  const std::string hint = job.last_hint.empty() ? std::string() : " Hint: " + job.last_hint;
  return "error" + sqlstate + ": " + job.last_error + hint;
}

// Name at the left, state at the right.
Line heading(const JobProgress& job, std::size_t width, Charset charset) {
  const std::string name = fmt::format("Job {}  ", job.job_id);
  std::string what = job.kind + " of " + job.target;
  if (!job.label.empty()) what += "  " + job.label;
  const std::string state = terminal_text(job.state, charset);
  const std::size_t taken = columns(name) + columns(state) + 2;
  const std::size_t room = width > taken ? width - taken : 0;
  Line line{{name, Style::strong}};
  line.add(padded(clipped(terminal_text(what, charset), room, charset), room)).add("  ");
  return line.add(state, state_style(job.state)).clipped(width, charset);
}

Line bar_line(const JobProgress& job, std::size_t width, Charset charset) {
  const std::string percent = padded(percent_text(job), 7, Align::right);
  const std::string rows = rows_text(job);
  const std::size_t taken = indent.size() + columns(percent) + 4 + columns(rows);
  const std::size_t room = width > taken ? width - taken : 0;
  const std::string bar = progress_bar(fraction(job), std::clamp(room, narrowest_bar, widest_bar), charset);
  Line line{{indent}, {bar, state_style(job.state)}};
  return line.add("  " + percent, Style::strong).add("  " + rows).clipped(width, charset);
}

// What does not fit is left out whole: half a number misleads.
Line fact_line(std::span<const Span> facts, std::size_t width, Charset charset) {
  Line line{{indent}};
  std::string separator;
  for (const Span& fact : facts) {
    if (line.columns() + separator.size() + columns(fact.text) > width) continue;
    line.add(separator).add(fact.text, fact.style);
    separator = "   ";
  }
  return line.clipped(width, charset);
}

} // namespace

bool is_finished(const JobProgress& job) {
  const std::optional<JobState> state = job_state(job.state);
  return state && is_terminal(*state);
}

bool has_succeeded(const JobProgress& job) {
  return job_state(job.state) == JobState::succeeded;
}

Style state_style(std::string_view state) {
  switch (job_state(state).value_or(JobState::queued)) {
  case JobState::running:
    return Style::active;
  case JobState::paused:
  case JobState::cancelled:
    return Style::warning;
  case JobState::succeeded:
    return Style::good;
  case JobState::failed:
    return Style::bad;
  case JobState::queued:
    break;
  }
  return Style::faint;
}

std::vector<Line> block_view(const JobProgress& job, std::size_t width, Charset charset) {
  std::vector<Line> lines{heading(job, width, charset), bar_line(job, width, charset)};
  if (const std::vector<Span> all = facts(job); !all.empty()) lines.push_back(fact_line(all, width, charset));
  const auto add = [&](const std::string& text, Style style) {
    if (text.empty()) return;
    lines.push_back(Line{{indent}}.add(terminal_text(text, charset), style).clipped(width, charset));
  };
  add(wait_text(job), Style::warning);
  add(error_text(job), Style::bad);
  return lines;
}

Line row_view(const JobProgress& job, std::size_t width, Charset charset) {
  constexpr std::size_t target_columns = 20;
  const std::string target = clipped(terminal_text(job.target, charset), target_columns, charset);
  Line line{{padded(fmt::format("{}", job.job_id), 5, Align::right) + " ", Style::strong}};
  line.add(padded(target, target_columns) + " ");
  line.add(padded(terminal_text(job.state, charset), 9), state_style(job.state)).add(" ");
  line.add(progress_bar(fraction(job), narrowest_bar + 2, charset), state_style(job.state));
  line.add(padded(percent_text(job), 8, Align::right), Style::strong);
  line.add(fmt::format(" {:>6}", abbreviated(static_cast<double>(job.rows_done))));
  if (job.eta) line.add("  ETA " + duration_text(*job.eta));
  if (job.rows_failed > 0) line.add("  " + set_aside_text(job), Style::bad);
  if (!job.waiting_for.empty()) line.add("  " + terminal_text(wait_text(job, false), charset), Style::warning);
  return line.clipped(width, charset);
}

std::string plain_view(const JobProgress& job) {
  const std::string label = job.label.empty() ? std::string() : " (" + job.label + ")";
  std::string line = fmt::format("job {} {} of {}{}: {}", job.job_id, job.kind, job.target, label, job.state);
  const auto add = [&line](const std::string& text) {
    if (!text.empty()) line += ", " + text;
  };
  add(percent_text(job));
  add(rows_text(job));
  for (const Span& fact : facts(job))
    add(fact.text);
  add(wait_text(job));
  add(error_text(job));
  return terminal_text(line);
}

} // namespace dbops::core
