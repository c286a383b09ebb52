// Time windows: "22:00-06:00", "Mon-Fri 20:00-24:00, Sat,Sun 00:00-24:00". In which a job may run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::core {

// A position in the text and what was expected there.
struct WindowError {
  std::size_t position; // 0-based byte offset
  std::string expected;
};

// Minutes since local midnight of a weekday; local time comes in, so the server's time zone rules decide, not this
// code.
struct LocalMinute {
  int weekday; // 0 = Sunday
  int minute;  // 0..1439
};

class Windows {
 public:
  // Grammar: windows = window { ("," | ";") window }, window = [days] HH:MM "-" HH:MM, days = range { "," range },
  // range = day [ "-" day ]; white space between any two of these. Day names of three letters or whole, any case;
  // Fri-Mon goes over the week end; no days: every day. An end at or before the start means the next day, so that
  // 10:00-10:00 is 24 hours; 24:00 is allowed as an end, and H:MM for HH:MM. Nothing and `error` set when the text is
  // not that.
  static std::optional<Windows> parse(std::string_view text, WindowError& error);

  [[nodiscard]] bool contains(LocalMinute now) const noexcept;
  // Minutes from `now` until a window opens; 0 inside one, a week when there is none (default-constructed).
  [[nodiscard]] int minutes_until_open(LocalMinute now) const noexcept;

 private:
  struct Span {
    int from, to; // minutes of the week, to exclusive, may exceed one week by a day
  };
  std::vector<Span> spans_;
};

} // namespace dbops::core
