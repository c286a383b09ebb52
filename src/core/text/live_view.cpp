#include "core/text/live_view.h"

#include <fmt/format.h>

#include <algorithm>

namespace dbops::core {

namespace {

// Blocks with an empty line between two.
std::vector<Line> blocks(const std::vector<JobProgress>& jobs, std::size_t width, Charset charset) {
  std::vector<Line> lines;
  for (const JobProgress& job : jobs) {
    if (!lines.empty()) lines.emplace_back();
    for (Line& line : block_view(job, width, charset))
      lines.push_back(std::move(line));
  }
  return lines;
}

// What stands below the jobs.
std::vector<Line> footer(const LiveView& view, std::int64_t left_out, std::size_t width, Charset charset) {
  std::vector<Line> lines;
  const std::int64_t more = view.not_shown + left_out;
  if (more > 0) lines.push_back(Line{{fmt::format("and {} more not finished", grouped(more)), Style::faint}});
  if (view.jobs.empty() && more == 0 && !view.when_empty.empty())
    lines.push_back(Line{{view.when_empty, Style::faint}});
  if (!view.notice.empty()) lines.push_back(Line{{terminal_text(view.notice, charset), Style::warning}});
  for (Line& line : lines)
    line = line.clipped(width, charset);
  return lines;
}

std::vector<Line> joined(std::vector<Line> lines, const std::vector<Line>& below) {
  lines.insert(lines.end(), below.begin(), below.end());
  return lines;
}

} // namespace

std::vector<Line> live_lines(const LiveView& view, TerminalSize size, Charset charset) {
  const std::size_t room = std::max<std::size_t>(size.rows, 2) - 1;
  const std::vector<Line> below = footer(view, 0, size.columns, charset);
  std::vector<Line> detailed = blocks(view.jobs, size.columns, charset);
  if (detailed.size() + below.size() <= room) return joined(std::move(detailed), below);

  std::vector<Line> rows;
  for (const JobProgress& job : view.jobs)
    rows.push_back(row_view(job, size.columns, charset));
  if (rows.size() + below.size() <= room) return joined(std::move(rows), below);

  const std::size_t footer_lines = view.notice.empty() ? 1 : 2;
  const std::size_t fit = room > footer_lines ? room - footer_lines : 0;
  const auto left_out = static_cast<std::int64_t>(rows.size() - fit);
  rows.resize(fit);
  rows = joined(std::move(rows), footer(view, left_out, size.columns, charset));
  rows.resize(std::min(rows.size(), room));
  return rows;
}

} // namespace dbops::core
