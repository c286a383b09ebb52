// Byte buffers, and the little-endian fields of the repository's formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::core {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline ByteView as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(std::string_view text) {
  return {as_bytes(text).begin(), as_bytes(text).end()};
}
inline void append(Bytes& to, ByteView from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Lower-case hexadecimal.
std::string to_hex(ByteView bytes);
// Either case. Throws Error(corrupt) when the text is not an even number of hexadecimal digits.
Bytes from_hex(std::string_view text);

// Unsigned value as exactly `digits` upper-case hexadecimal digits, as in WAL file names.
std::string hex_field(std::uint64_t value, int digits);
// The reverse: every character must be an upper-case hexadecimal digit. At most 16 digits.
bool parse_hex_field(std::string_view text, std::uint64_t& value) noexcept;

class ByteWriter {
 public:
  explicit ByteWriter(Bytes& to) : to_(to) {}
  void u8(std::uint8_t value) { integer(value, 1); }
  void u16(std::uint16_t value) { integer(value, 2); }
  void u32(std::uint32_t value) { integer(value, 4); }
  void u64(std::uint64_t value) { integer(value, 8); }
  void raw(ByteView bytes) { append(to_, bytes); }
  // A 16-bit length and the bytes. Throws std::length_error above 65535.
  void text16(std::string_view text);

 private:
  void integer(std::uint64_t value, int width);
  Bytes& to_;
};

// Throws Error(corrupt) when a field reaches beyond the end.
class ByteReader {
 public:
  explicit ByteReader(ByteView from) : from_(from) {}
  std::uint8_t u8() { return std::uint8_t(integer(1)); }
  std::uint16_t u16() { return std::uint16_t(integer(2)); }
  std::uint32_t u32() { return std::uint32_t(integer(4)); }
  std::uint64_t u64() { return integer(8); }
  ByteView raw(std::size_t length);
  std::string text16() { return std::string(as_text(raw(u16()))); }
  [[nodiscard]] std::size_t remaining() const noexcept { return from_.size(); }

 private:
  std::uint64_t integer(std::size_t width);
  ByteView from_;
};

} // namespace dbops::core
