#include "core/text/columns.h"

#include "core/text/column_ranges.h"

#include <algorithm>
#include <span>

namespace dbops::core {

namespace {

constexpr char32_t replacement = 0xfffd;

struct Decoded {
  char32_t code = replacement;
  std::size_t length = 1; // bytes
  bool valid = false;
};

// The smallest code point that needs this many bytes: a longer form than necessary is not UTF-8.
constexpr std::array<char32_t, 5> smallest{0, 0, 0x80, 0x800, 0x10000};

Decoded decode(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {.code = first, .length = 1, .valid = true};
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return {};
  char32_t code = first & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fU);
  }
  if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return {};
  return {.code = code, .length = length, .valid = true};
}

bool within(std::span<const CodePointRange> ranges, char32_t code) {
  const auto range = std::ranges::lower_bound(ranges, code, {}, &CodePointRange::last);
  return range != ranges.end() && range->first <= code;
}

std::size_t columns(const Decoded& character) {
  if (character.code < no_column.front().first && character.code != 0) return 1; // most text
  if (character.code == 0 || within(no_column, character.code)) return 0;
  return within(two_columns, character.code) ? 2 : 1;
}

bool is_blank(char32_t code) {
  return code == '\t' || code == '\n' || code == '\r' || code == '\v' || code == '\f';
}

// C0 and C1 controls, line and paragraph separators, and what turns the direction of writing round.
bool steers_terminal(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

} // namespace

std::size_t columns(std::string_view text) {
  std::size_t sum = 0;
  while (!text.empty()) {
    const Decoded character = decode(text);
    sum += columns(character);
    text.remove_prefix(character.length);
  }
  return sum;
}

std::string terminal_text(std::string_view text, Charset charset) {
  const bool ascii = charset == Charset::ascii;
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Decoded character = decode(text);
    if (is_blank(character.code))
      result += ' ';
    else if (!character.valid || steers_terminal(character.code) || (ascii && character.code >= 0x80))
      result += ascii ? "?" : "\ufffd";
    else
      result += text.substr(0, character.length);
    text.remove_prefix(character.length);
  }
  return result;
}

std::string clipped(std::string_view text, std::size_t width, Charset charset) {
  if (columns(text) <= width) return std::string(text);
  if (width == 0) return {};
  std::string result;
  for (std::size_t used = 0; !text.empty();) {
    const Decoded character = decode(text);
    used += columns(character);
    if (used > width - 1) break; // the last column is for the sign
    result += text.substr(0, character.length);
    text.remove_prefix(character.length);
  }
  return result + (charset == Charset::utf8 ? "…" : "~");
}

std::string padded(std::string_view text, std::size_t width, Align align) {
  const std::size_t used = columns(text);
  const std::string blanks(width > used ? width - used : 0, ' ');
  return align == Align::left ? std::string(text) + blanks : blanks + std::string(text);
}

} // namespace dbops::core
