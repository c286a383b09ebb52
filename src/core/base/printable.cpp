#include "core/base/printable.h"

#include <algorithm>

namespace dbops::core {

std::string printable(std::string_view text, std::size_t limit) {
  std::string line(text.substr(0, limit));
  std::ranges::replace_if(
      line, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  if (text.size() > limit) line += "...";
  return line;
}

} // namespace dbops::core
