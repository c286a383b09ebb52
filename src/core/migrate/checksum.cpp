#include "core/migrate/checksum.h"

#include <array>

namespace dbops::core::migrate {

namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit)
      value = (value & 1U) != 0 ? 0xedb88320U ^ (value >> 1U) : value >> 1U;
    table[i] = value;
  }
  return table;
}
constexpr auto table = make_table();

// Length of the UTF-8 sequence at the start of `bytes`; 0 when it is none. RFC 3629, section 4.
std::size_t sequence_length(std::string_view bytes) noexcept {
  const auto at = [bytes](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = at(0);
  if (first == 0) return 0;
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length == 0 || bytes.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if (at(i) < 0x80 || at(i) > 0xbf) return 0;
  const unsigned char second = at(1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
      (first == 0xf4 && second > 0x8f))
    return 0;
  return length;
}

} // namespace

void Crc32::add(std::string_view bytes) noexcept {
  for (const char byte : bytes)
    state_ = table[(state_ ^ static_cast<unsigned char>(byte)) & 0xffU] ^ (state_ >> 8U);
}

std::string_view without_bom(std::string_view text) noexcept {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return text;
}

std::int32_t line_checksum(std::string_view text) noexcept {
  Crc32 crc;
  for (std::string_view rest = without_bom(text); !rest.empty();) {
    const std::size_t end = rest.find_first_of("\r\n");
    crc.add(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return static_cast<std::int32_t>(crc.value());
}

std::int32_t byte_checksum(std::string_view bytes) noexcept {
  Crc32 crc;
  crc.add(bytes);
  return static_cast<std::int32_t>(crc.value());
}

std::optional<std::size_t> invalid_utf8(std::string_view bytes) noexcept {
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = sequence_length(bytes.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

} // namespace dbops::core::migrate
