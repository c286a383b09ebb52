#include "core/wal/segment.h"

#include "core/base/bytes.h"
#include "core/base/error.h"

#include <bit>
#include <charconv>

namespace dbops::core {

namespace {

constexpr std::uint64_t min_segment_size = 1 << 20, max_segment_size = 1 << 30;
constexpr std::size_t segment_name_length = 24;

bool is_hex(std::string_view text, std::size_t length) {
  std::uint64_t ignored = 0;
  if (text.size() != length) return false;
  for (; text.size() > 8; text.remove_prefix(8))
    if (!parse_hex_field(text.substr(0, 8), ignored)) return false;
  return parse_hex_field(text, ignored);
}

} // namespace

bool SegmentSize::valid(std::uint64_t bytes) noexcept {
  return std::has_single_bit(bytes) && bytes >= min_segment_size && bytes <= max_segment_size;
}

SegmentSize::SegmentSize(std::uint64_t bytes) : bytes_(bytes) {
  if (!valid(bytes))
    throw Error(ErrorKind::configuration, std::to_string(bytes) + " bytes cannot be the size of a WAL segment");
}

std::string segment_name(const SegmentId& id, SegmentSize size) {
  return hex_field(id.timeline, 8) + hex_field(id.number / size.per_log(), 8) +
         hex_field(id.number % size.per_log(), 8);
}

std::optional<SegmentId> parse_segment_name(std::string_view name, SegmentSize size) {
  std::uint64_t timeline = 0, log = 0, segment = 0;
  if (name.size() != segment_name_length || !parse_hex_field(name.substr(0, 8), timeline) ||
      !parse_hex_field(name.substr(8, 8), log) || !parse_hex_field(name.substr(16), segment))
    return {};
  if (timeline == 0 || segment >= size.per_log()) return {};
  return SegmentId{TimelineId(timeline), log * size.per_log() + segment};
}

std::string to_string(Lsn lsn) {
  // Without leading zeros on either side, as %X/%X prints.
  const auto half = [](std::uint64_t value) {
    const std::string digits = hex_field(value & 0xffffffff, 8);
    return digits.substr(std::min(digits.find_first_not_of('0'), digits.size() - 1));
  };
  return half(lsn >> 32) + "/" + half(lsn);
}

std::optional<Lsn> parse_lsn(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return {};
  Lsn lsn = 0;
  for (const std::string_view half : {text.substr(0, slash), text.substr(slash + 1)}) {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(half.data(), half.data() + half.size(), value, 16);
    if (half.empty() || half.size() > 8 || error != std::errc() || end != half.data() + half.size()) return {};
    lsn = lsn << 32 | value;
  }
  return lsn;
}

std::optional<WalFileName> parse_wal_file_name(std::string_view name) {
  const auto dot = name.find('.');
  const std::string_view stem = name.substr(0, dot);
  const std::string_view rest = dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
  WalFileName file{.name = std::string(name), .timeline = std::string(stem.substr(0, 8)), .log = {}, .segment = {}};
  if (rest == "history" && is_hex(stem, 8)) {
    file.kind = WalFileKind::history;
    return file;
  }
  if (!is_hex(stem, segment_name_length)) return {};
  file.log = stem.substr(8, 8);
  file.segment = stem;
  if (dot == std::string_view::npos)
    file.kind = WalFileKind::segment;
  else if (rest == "partial")
    file.kind = WalFileKind::partial;
  else if (rest.size() == 15 && is_hex(rest.substr(0, 8), 8) && rest.substr(8) == ".backup")
    file.kind = WalFileKind::backup;
  else
    return {};
  return file;
}

} // namespace dbops::core
