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
  std::string result;
  result.reserve(text.size());
  std::size_t at = 0; // what is before it is in the result
  for (std::size_t begin = text.find('$'); begin != std::string_view::npos;) {
    if (text.substr(begin + 1, 1) != "{") {
      begin = begin + 2 < text.size() ? text.find('$', begin + 2) : std::string_view::npos;
      continue;
    }
    const std::size_t end = text.find('}', begin + 2);
    const std::string name(text.substr(begin + 2, end == std::string_view::npos ? 40 : end - begin - 2));
    const auto value = values.find(name);
    if (end == std::string_view::npos || value == values.end()) {
      unknown = {begin, name};
      return std::nullopt;
    }
    result.append(text.substr(at, begin - at)).append(value->second);
    at = end + 1;
    begin = text.find('$', at);
  }
  return result.append(text.substr(at));
}

} // namespace dbops::core::migrate
