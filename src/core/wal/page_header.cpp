#include "core/wal/page_header.h"

#include "core/base/error.h"

#include <bit>
#include <cstring>

namespace dbops::core {

namespace {

constexpr std::uint16_t long_header_flag = 0x0002; // XLP_LONG_HEADER
constexpr std::size_t long_header_size = 40, page_size_place = 36;
constexpr std::size_t min_page_size = 1024, max_page_size = 64 << 10; // XLOG_BLCKSZ

template <class Value>
Value native(ByteView bytes, std::size_t offset) {
  Value value{};
  std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
  return value;
}

} // namespace

SegmentHeader parse_segment_header(ByteView first_page) {
  if (first_page.size() < long_header_size)
    throw Error(ErrorKind::corrupt, "a WAL segment is shorter than its page header");
  if ((native<std::uint16_t>(first_page, 2) & long_header_flag) == 0)
    throw Error(ErrorKind::corrupt, "a WAL segment does not begin with a long page header");
  return {.magic = native<std::uint16_t>(first_page, 0),
          .timeline = native<std::uint32_t>(first_page, 4),
          .page_address = native<std::uint64_t>(first_page, 8),
          .system_identifier = native<std::uint64_t>(first_page, 24),
          .segment_size = native<std::uint32_t>(first_page, 32)};
}

std::optional<std::size_t> wal_page_size(ByteView first_page) {
  if (first_page.size() < long_header_size) return {};
  const std::size_t size = native<std::uint32_t>(first_page, page_size_place);
  if (size < min_page_size || size > max_page_size || !std::has_single_bit(size)) return {};
  return size;
}

void check_segment(ByteView first_page, std::uint64_t file_size, std::uint64_t system_identifier,
                   std::string_view name) {
  const SegmentHeader header = parse_segment_header(first_page);
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::corrupt, "WAL segment " + std::string(name) + " " + what);
  };
  if (header.system_identifier != system_identifier)
    refuse("belongs to system identifier " + std::to_string(header.system_identifier) + ", not " +
           std::to_string(system_identifier));
  if (!SegmentSize::valid(header.segment_size) || file_size != header.segment_size)
    refuse("has " + std::to_string(file_size) + " bytes, its header says " + std::to_string(header.segment_size));
  const SegmentSize size(header.segment_size);
  const auto id = parse_segment_name(name, size);
  if (!id || size.start_of(id->number) != header.page_address || header.timeline > id->timeline)
    refuse("begins with the page of " + to_string(header.page_address) + " of timeline " +
           std::to_string(header.timeline));
}

} // namespace dbops::core
