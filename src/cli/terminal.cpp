#include "cli/terminal.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>
#include <system_error>

namespace dbops::cli {

namespace {

// ECMA-48 and DEC private modes; every terminal of the last decades that is not "dumb" knows them.
constexpr std::string_view hide_cursor_sequence = "\x1b[?25l";
constexpr std::string_view show_cursor_sequence = "\x1b[?25h";
constexpr std::string_view clear_to_end_of_line = "\x1b[K";
constexpr std::string_view clear_to_end_of_screen = "\x1b[J";

volatile std::sig_atomic_t cursor_is_hidden = 0;

} // namespace

Terminal Terminal::of_standard_output() {
  Terminal result;
  const char* type = std::getenv("TERM");
  const char* no_colour = std::getenv("NO_COLOR");
  const std::string_view name = type == nullptr ? "" : type;
  result.interactive = isatty(STDOUT_FILENO) == 1 && !name.empty() && name != "dumb";
  result.colour = result.interactive && (no_colour == nullptr || *no_colour == '\0');
  result.charset = std::string_view(nl_langinfo(CODESET)) == "UTF-8" ? core::Charset::utf8 : core::Charset::ascii;
  return result;
}

core::TerminalSize Terminal::size() {
  winsize window{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0) return {};
  return {.columns = window.ws_col, .rows = window.ws_row};
}

std::optional<std::size_t> Terminal::width() const {
  if (!interactive) return std::nullopt;
  return size().columns;
}

void write_to_standard_output(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0)
      text.remove_prefix(static_cast<std::size_t>(written));
    else if (errno != EINTR)
      throw std::system_error(errno, std::generic_category(), "could not write to standard output");
  }
}

void print(const Terminal& terminal, const std::vector<core::Line>& lines) {
  std::string text;
  for (const core::Line& line : lines)
    text.append(line.rendered(terminal.colour)).append("\n");
  write_to_standard_output(text);
}

// A terminal that became narrower has wrapped the lines that were drawn.
std::size_t LiveScreen::rows_drawn(std::size_t columns) const {
  std::size_t rows = 0;
  for (const std::size_t width : drawn_)
    rows += std::max<std::size_t>(1, (width + columns - 1) / std::max<std::size_t>(1, columns));
  return rows;
}

void LiveScreen::draw(const std::vector<core::Line>& above, const std::vector<core::Line>& live) {
  const std::size_t columns = Terminal::size().columns;
  const std::size_t up = rows_drawn(columns);
  // One write for all of it, and lines overwritten rather than cleared first: nothing flickers.
  std::string text;
  if (cursor_is_hidden == 0) text += hide_cursor_sequence;
  cursor_is_hidden = 1;
  text += '\r';
  if (up > 0) text.append("\x1b[").append(std::to_string(up)).append("A");
  if (columns != drawn_at_width_) text += clear_to_end_of_screen;
  drawn_.clear();
  drawn_at_width_ = columns;
  const auto add = [&](const core::Line& line) {
    text.append(line.rendered(terminal_.colour)).append(clear_to_end_of_line).append("\n");
  };
  for (const core::Line& line : above)
    add(line);
  for (const core::Line& line : live) {
    add(line);
    drawn_.push_back(line.columns());
  }
  write_to_standard_output(text.append(clear_to_end_of_screen));
}

void LiveScreen::leave() {
  show_cursor();
  drawn_.clear();
}

void LiveScreen::show_cursor() noexcept {
  show_cursor_in_signal_handler();
  cursor_is_hidden = 0;
}

void show_cursor_in_signal_handler() noexcept {
  if (cursor_is_hidden != 0) (void)!write(STDOUT_FILENO, show_cursor_sequence.data(), show_cursor_sequence.size());
}

} // namespace dbops::cli
