#include "core/text/bar.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace dbops::core {

namespace {

// What share of a column each block covers: index / 8. U+258F to U+2589.
constexpr std::array<std::string_view, 8> partial_blocks{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};

std::string utf8_bar(double fraction, std::size_t inner) {
  const auto eighths = static_cast<std::size_t>(fraction * static_cast<double>(inner * 8));
  std::string result = "▕";
  for (std::size_t i = 0; i < eighths / 8; ++i)
    result += "█";
  result += partial_blocks[eighths % 8];
  result.append(inner - (eighths + 7) / 8, ' ');
  return result + "▏";
}

std::string ascii_bar(double fraction, std::size_t inner) {
  const auto filled = static_cast<std::size_t>(fraction * static_cast<double>(inner));
  std::string result = "[" + std::string(filled, '=');
  if (filled < inner) result += fraction > 0 ? '>' : ' ';
  result.resize(inner + 1, ' ');
  return result + "]";
}

} // namespace

std::string progress_bar(double fraction, std::size_t width, Charset charset) {
  if (width < 3) return {};
  const double share = fraction > 0 ? std::min(fraction, 1.0) : 0.0; // false for NaN
  return charset == Charset::utf8 ? utf8_bar(share, width - 2) : ascii_bar(share, width - 2);
}

} // namespace dbops::core
