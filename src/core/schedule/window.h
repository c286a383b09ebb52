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

// Minutes since local midnight of a weekday; local time comes in, so the server's time zone rules decide, not this code.
struct LocalMinute {
  int weekday; // 0 = Sunday
  int minute;  // 0..1439
};

class Windows {
 public:
  // Grammar: window { "," window } | window { ";" window }, window = [days] HH:MM "-" HH:MM, days = day | day "-" day | day { "," day };
  // day names of three letters or whole, any case. An end at or before the start means the next day; 24:00 is allowed as an end.
  // Throws std::invalid_argument never; returns an error by value.
  static std::optional<Windows> parse(std::string_view text, WindowError& error);

  [[nodiscard]] bool contains(LocalMinute now) const noexcept;
  // Minutes from `now` until a window opens; 0 inside one.
  [[nodiscard]] int minutes_until_open(LocalMinute now) const noexcept;

 private:
  struct Span {
    int from, to; // minutes of the week, to exclusive, to may exceed one week by a day
  };
  std::vector<Span> spans_;
};

} // namespace dbops::core
