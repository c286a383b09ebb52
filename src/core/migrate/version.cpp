#include "core/migrate/version.h"

#include <algorithm>

namespace dbops::core::migrate {

namespace {

std::strong_ordering compare_numbers(const std::string& left, const std::string& right) noexcept {
  if (left.size() != right.size()) return left.size() <=> right.size();
  return left.compare(right) <=> 0;
}

} // namespace

std::optional<Version> Version::parse(std::string_view text) {
  Version version;
  version.text_ = text;
  std::replace(version.text_.begin(), version.text_.end(), '_', '.');
  std::string_view rest = version.text_;
  for (bool more = true; more;) {
    const std::size_t dot = rest.find('.');
    more = dot != std::string_view::npos;
    const std::string_view part = rest.substr(0, dot);
    if (part.empty() || part.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
    const std::size_t digits = part.find_first_not_of('0');
    version.parts_.emplace_back(digits == std::string_view::npos ? "" : part.substr(digits));
    if (more) rest.remove_prefix(dot + 1);
  }
  while (!version.parts_.empty() && version.parts_.back().empty())
    version.parts_.pop_back();
  return version;
}

std::string Version::order() const {
  std::string text = "{";
  for (const std::string& part : parts_)
    text.append(text.size() > 1 ? "," : "").append(part.empty() ? "0" : part);
  return text + "}";
}

std::strong_ordering operator<=>(const Version& left, const Version& right) noexcept {
  const std::size_t common = std::min(left.parts_.size(), right.parts_.size());
  for (std::size_t i = 0; i < common; ++i)
    if (const auto order = compare_numbers(left.parts_[i], right.parts_[i]); order != 0) return order;
  return left.parts_.size() <=> right.parts_.size(); // parts at the end are never 0
}

} // namespace dbops::core::migrate
