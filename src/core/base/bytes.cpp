#include "core/base/bytes.h"

#include "core/base/error.h"

#include <charconv>

namespace dbops::core {

std::string to_hex(ByteView bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    text += digits[std::to_integer<unsigned>(byte) >> 4];
    text += digits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

Bytes from_hex(std::string_view text) {
  if (text.size() % 2 != 0) throw Error(ErrorKind::corrupt, "odd number of hexadecimal digits");
  Bytes bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    std::uint8_t value = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, value, 16);
    if (error != std::errc() || end != text.data() + i + 2) throw Error(ErrorKind::corrupt, "not a hexadecimal digit");
    bytes.push_back(std::byte(value));
  }
  return bytes;
}

std::string hex_field(std::uint64_t value, int digits) {
  constexpr std::string_view alphabet = "0123456789ABCDEF";
  std::string text(std::size_t(digits), '0');
  for (auto digit = text.rbegin(); digit != text.rend(); ++digit, value >>= 4)
    *digit = alphabet[value & 15];
  return text;
}

bool parse_hex_field(std::string_view text, std::uint64_t& value) noexcept {
  if (text.empty() || text.size() > 16 || text.find_first_not_of("0123456789ABCDEF") != std::string_view::npos)
    return false;
  return std::from_chars(text.data(), text.data() + text.size(), value, 16).ec == std::errc();
}

void ByteWriter::integer(std::uint64_t value, int width) {
  for (int i = 0; i < width; ++i, value >>= 8)
    to_.push_back(std::byte(value & 0xff));
}

void ByteWriter::text16(std::string_view text) {
  if (text.size() > 0xffff) throw std::length_error("text field of more than 65535 bytes");
  u16(std::uint16_t(text.size()));
  raw(as_bytes(text));
}

ByteView ByteReader::raw(std::size_t length) {
  if (length > from_.size()) throw Error(ErrorKind::corrupt, "a field reaches beyond the end of the data");
  const ByteView field = from_.first(length);
  from_ = from_.subspan(length);
  return field;
}

std::uint64_t ByteReader::integer(std::size_t width) {
  const ByteView field = raw(width);
  std::uint64_t value = 0;
  for (std::size_t i = width; i > 0; --i)
    value = value << 8 | std::to_integer<std::uint64_t>(field[i - 1]);
  return value;
}

} // namespace dbops::core
