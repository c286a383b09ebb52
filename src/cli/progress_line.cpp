#include "cli/progress_line.h"

#include "cli/terminal.h"
#include "core/text/bar.h"
#include "core/text/columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>

#include <sys/ioctl.h>
#include <unistd.h>

namespace dbops::cli {

namespace {

constexpr core::milliseconds redraw_interval(250), log_interval(10000);
constexpr std::size_t bar_width = 24, fewest_columns = 50;
constexpr std::string_view clear_line = "\r\x1b[K"; // ECMA-48

std::mutex screen; // standard error, and whether a bar is at its end
bool drawn = false;

bool is_terminal() {
  static const bool result = [] {
    const char* const type = std::getenv("TERM");
    const std::string_view name = type == nullptr ? "" : type;
    return ::isatty(STDERR_FILENO) == 1 && !name.empty() && name != "dumb";
  }();
  return result;
}

std::size_t columns_of_terminal() {
  winsize window{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0) return 80;
  return window.ws_col;
}

void write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void take_away() {
  if (drawn) write(clear_line);
  drawn = false;
}

} // namespace

void tell(const std::string& command, const std::string& text) {
  const std::lock_guard lock(screen);
  take_away();
  write(command + ": " + text + "\n");
}

core::milliseconds progress_interval() {
  return is_terminal() ? redraw_interval : log_interval;
}

void show_progress(const std::string& command, std::optional<double> fraction, const std::string& text) {
  const std::string percent = fraction ? fmt::format("{:.0f} %, ", *fraction * 100) : std::string();
  if (!is_terminal()) {
    tell(command, percent + text);
    return;
  }
  const core::Charset charset = Terminal::of_standard_output().charset;
  const std::size_t columns = columns_of_terminal();
  std::string line;
  if (fraction && columns >= fewest_columns) line = core::progress_bar(*fraction, bar_width, charset) + "  ";
  // The last column stays empty: some terminals wrap when it is written.
  line = core::clipped(line + percent + text, std::max<std::size_t>(columns, 2) - 1, charset);
  const std::lock_guard lock(screen);
  write(std::string(clear_line) + line);
  drawn = true;
}

void end_progress() {
  const std::lock_guard lock(screen);
  take_away();
}

std::optional<double> fraction_of(std::uint64_t done, std::uint64_t total) {
  if (total == 0) return {};
  return std::min(0.99, double(done) / double(total));
}

} // namespace dbops::cli
