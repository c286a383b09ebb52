// What standard output is, and a part of it that is redrawn in place.
#pragma once

#include "core/text/line.h"
#include "core/text/live_view.h"

#include <optional>
#include <string_view>
#include <vector>

namespace dbops::cli {

struct Terminal {
  bool interactive = false; // standard output is a terminal that can move its cursor
  bool colour = false;      // and NO_COLOR (no-color.org) is not set
  core::Charset charset = core::Charset::ascii;

  // After setlocale(LC_CTYPE, "").
  static Terminal of_standard_output();
  [[nodiscard]] static core::TerminalSize size();
  // To cut tables at; absent when the output is not for a terminal.
  [[nodiscard]] std::optional<std::size_t> width() const;
  // Names and messages go to files and pipes as they are.
  [[nodiscard]] core::Charset data_charset() const noexcept { return interactive ? charset : core::Charset::utf8; }
};

void print(const Terminal& terminal, const std::vector<core::Line>& lines);
// Throws std::system_error: a full disk must not look like an empty answer.
void write_to_standard_output(std::string_view text);

// The cursor is hidden as long as it lives and is shown.
class LiveScreen {
 public:
  explicit LiveScreen(const Terminal& terminal) : terminal_(terminal) {}
  ~LiveScreen() { show_cursor(); }
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

  // Replaces what was drawn before by `above`, which stays for good, and `live`, which the next call replaces.
  void draw(const std::vector<core::Line>& above, const std::vector<core::Line>& live);
  // Leaves what is drawn where it is; the next draw() begins below it.
  void leave();
  void show_cursor() noexcept;

 private:
  [[nodiscard]] std::size_t rows_drawn(std::size_t columns) const;

  Terminal terminal_;
  std::vector<std::size_t> drawn_; // columns of each live line
  std::size_t drawn_at_width_ = 0;
};

// For a signal handler that ends the process: shows the cursor if a LiveScreen has hidden it. Async-signal-safe.
void show_cursor_in_signal_handler() noexcept;

} // namespace dbops::cli
