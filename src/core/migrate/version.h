// Versions of migrations: 1, 1.2, 2026.11.21, 1_10. Compared as Flyway compares them.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::core::migrate {

// Parts of digits of any length, separated by "." or "_". Missing parts count as 0: 1 equals 1.0 and 01; 1.10 comes
// after 1.9.
class Version {
 public:
  // Nothing when the text is not a version.
  static std::optional<Version> parse(std::string_view text);

  // As Flyway keeps it in its table: "_" has become ".", zeros stay.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

  // For comparison by the server: "{1,10}", an array of numeric.
  [[nodiscard]] std::string order() const;

  friend bool operator==(const Version& left, const Version& right) noexcept { return left.parts_ == right.parts_; }
  friend std::strong_ordering operator<=>(const Version& left, const Version& right) noexcept;

 private:
  std::string text_;
  std::vector<std::string> parts_; // without leading zeros ("" is 0), without parts of 0 at the end
};

} // namespace dbops::core::migrate
