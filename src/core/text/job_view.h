// How a job is shown on a terminal and in a log: as a block with a bar, as one line with a bar, as plain text.
#pragma once

#include "core/text/line.h"
#include "core/text/quantity.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

// What dbops.jobs and dbops.progress say of a job. Texts are as the server gave them, not terminal_text() yet.
struct JobProgress {
  std::int64_t job_id = 0;
  std::string kind;   // backfill, batch_delete, backup (whose rows are bytes)
  std::string target; // table
  std::string label;
  std::string state; // a later server may have states that core::JobState does not
  std::int64_t rows_done = 0;
  std::optional<std::int64_t> rows_total; // an estimate
  std::optional<double> percent;
  std::optional<double> rows_per_second;
  std::optional<Seconds> eta;
  std::optional<Seconds> batch_time_p50, batch_time_p99;
  std::string waiting_for;       // empty: for nothing
  std::string waiting_since;     // "2026-11-21 10:41:02" on the clock of who reads it
  std::optional<Seconds> waited; // by the server's clock
  std::int64_t rows_failed = 0;  // set aside
  std::int64_t wal_bytes = 0;
  std::optional<Seconds> run_time; // from the start to the end, or to now
  std::string last_error, last_sqlstate, last_hint;
};

// Whether nothing more will happen to the job unless somebody retries it.
bool is_finished(const JobProgress& job);
bool has_succeeded(const JobProgress& job);

// The style that a state is written in.
Style state_style(std::string_view state);

// A block of two to five lines, none wider than `width`.
std::vector<Line> block_view(const JobProgress& job, std::size_t width, Charset charset);

// One line for where blocks do not fit.
Line row_view(const JobProgress& job, std::size_t width, Charset charset);

// One line of any length, without bar and colour.
std::string plain_view(const JobProgress& job);

} // namespace dbops::core
