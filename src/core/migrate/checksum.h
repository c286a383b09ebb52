// Checksums of migration files, equal to those that Flyway writes into its table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dbops::core::migrate {

// CRC-32 of IEEE 802.3, as in zip.
class Crc32 {
 public:
  void add(std::string_view bytes) noexcept;
  [[nodiscard]] std::uint32_t value() const noexcept { return ~state_; }

 private:
  std::uint32_t state_ = 0xffffffffU;
};

// Flyway 4 and later: over the text without a byte order mark at its start and without every CR and LF.
std::int32_t line_checksum(std::string_view text) noexcept;
// Flyway 3 and earlier: over the bytes as they are.
std::int32_t byte_checksum(std::string_view bytes) noexcept;

// The byte order mark is three bytes in UTF-8.
std::string_view without_bom(std::string_view text) noexcept;

// Offset of the first byte that is not part of valid UTF-8 (no surrogates, no overlong forms) or that is NUL; absent
// when there is none.
std::optional<std::size_t> invalid_utf8(std::string_view bytes) noexcept;

} // namespace dbops::core::migrate
