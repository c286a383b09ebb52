#include "core/migrate/placeholder.h"

#include <algorithm>

namespace dbops::core::migrate {

namespace {

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

} // namespace

bool AnyCase::operator()(const std::string& left, const std::string& right) const noexcept {
  return std::lexicographical_compare(left.begin(), left.end(), right.begin(), right.end(),
                                      [](char a, char b) { return lower(a) < lower(b); });
}

std::optional<std::string> replace_placeholders(std::string_view text, const Placeholders& values,
                                                UnknownPlaceholder& unknown) {
  constexpr std::string_view prefix = "${";
  std::string result;
  result.reserve(text.size());
  std::size_t at = 0;
  for (;;) {
    const std::size_t begin = text.find(prefix, at);
    const std::size_t end = begin == std::string_view::npos ? begin : text.find('}', begin + prefix.size());
    if (end == std::string_view::npos) break;
    const std::string name(text.substr(begin + prefix.size(), end - begin - prefix.size()));
    const auto value = values.find(name);
    if (value == values.end()) {
      unknown = {begin, name};
      return std::nullopt;
    }
    result.append(text.substr(at, begin - at)).append(value->second);
    at = end + 1;
  }
  return result.append(text.substr(at));
}

} // namespace dbops::core::migrate
