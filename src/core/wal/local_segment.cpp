#include "core/wal/local_segment.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/page_header.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

// access/xlog_internal.h and access/xlogrecord.h
constexpr std::uint16_t begins_with_rest = 0x0001; // XLP_FIRST_IS_CONTRECORD
constexpr std::size_t short_header_size = 24;      // SizeOfXLogShortPHD
constexpr std::size_t long_header_size = 40;       // SizeOfXLogLongPHD
constexpr std::size_t record_header_size = 24;     // SizeOfXLogRecord; a switch is nothing else
constexpr std::uint8_t switch_info = 0x40;         // XLOG_SWITCH, of resource manager 0
constexpr std::uint64_t record_alignment = 8;      // MAXALIGN

struct Record {
  std::uint32_t length = 0;
  Lsn previous = 0;
  bool is_switch = false;
};

template <class Value>
Value native(ByteView bytes, std::size_t offset) {
  Value value{};
  std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
  return value;
}

// bytes: at least record_header_size.
Record parse_record(ByteView bytes) {
  const auto length = native<std::uint32_t>(bytes, 0);
  const auto info = std::to_integer<std::uint8_t>(bytes[16]), manager = std::to_integer<std::uint8_t>(bytes[17]);
  return {.length = length,
          .previous = native<Lsn>(bytes, 8),
          .is_switch = length == record_header_size && (info & 0xf0) == switch_info && manager == 0};
}

std::uint64_t aligned(std::uint64_t length) {
  return (length + record_alignment - 1) / record_alignment * record_alignment;
}

// A segment of the cluster that has at least begun.
struct Segment {
  File file;
  SegmentHeader header;
  std::uint64_t page_size = 0;

  [[nodiscard]] Bytes read(std::uint64_t offset, std::size_t length) const {
    Bytes bytes(length);
    bytes.resize(file.read_at(offset, bytes));
    if (bytes.size() != length) throw Error(ErrorKind::corrupt, "a WAL segment became shorter");
    return bytes;
  }
};

std::optional<Segment> open_segment(const fs::path& directory, const std::string& name, std::uint64_t identifier) {
  auto file = File::open_if_exists(directory / name, O_RDONLY);
  if (!file) return {};
  Bytes start(long_header_size);
  start.resize(file->read_at(0, start));
  check_segment(start, file->size(), identifier, name);
  const auto page_size = wal_page_size(start);
  if (!page_size || file->size() % *page_size != 0) return {};
  return Segment{std::move(*file), parse_segment_header(start), *page_size};
}

// Records up to the end of the last page, each pointing to the one before it.
bool is_last_page_full(const Segment& segment) {
  const std::uint64_t offset = segment.header.segment_size - segment.page_size;
  const Bytes page = segment.read(offset, segment.page_size);
  const Lsn address = segment.header.page_address + offset;
  if (native<std::uint16_t>(page, 0) != segment.header.magic || native<Lsn>(page, 8) != address) return false;
  std::uint64_t place = short_header_size;
  if ((native<std::uint16_t>(page, 2) & begins_with_rest) != 0) place += aligned(native<std::uint32_t>(page, 16));
  for (std::optional<Lsn> previous; place < page.size();) {
    const ByteView rest = ByteView(page).subspan(place);
    const auto length = native<std::uint32_t>(rest, 0); // always on one page: records are aligned
    if (length < record_header_size) return false;
    if (rest.size() >= record_header_size) {
      const Record record = parse_record(rest);
      if (record.previous >= address + place || (previous && record.previous != *previous)) return false;
      if (record.is_switch) return true;
    }
    previous = address + place;
    place += aligned(length);
  }
  return true;
}

// What is behind a switch of segments is zeros, and nothing in the segment itself tells them from WAL that is missing.
// The next one does: its first record points to the switch.
bool ends_with_switch(const Segment& segment, const Segment& next) {
  const Bytes start = next.read(0, long_header_size + record_header_size);
  if ((native<std::uint16_t>(start, 2) & begins_with_rest) != 0) return false;
  const Record first = parse_record(ByteView(start).subspan(long_header_size));
  const Lsn begin = segment.header.page_address;
  if (first.length < record_header_size || first.previous < begin ||
      first.previous > begin + segment.header.segment_size - record_header_size)
    return false;
  const std::uint64_t place = first.previous - begin;
  Bytes record = segment.read(place, record_header_size);
  // The header may go on on the next page.
  if (const std::uint64_t here = segment.page_size - place % segment.page_size; here < record_header_size) {
    const Bytes rest = segment.read(place + here + short_header_size, record_header_size - here);
    std::copy(rest.begin(), rest.end(), record.begin() + std::ptrdiff_t(here));
  }
  const Record last = parse_record(record);
  return last.is_switch && last.previous < first.previous;
}

} // namespace

LocalSegment look_at_local_segment(const fs::path& directory, const WalFileName& name,
                                   std::uint64_t system_identifier) noexcept {
  if (name.kind != WalFileKind::segment) return LocalSegment::none;
  LocalSegment found = LocalSegment::none;
  try {
    const auto segment = open_segment(directory, name.segment, system_identifier);
    if (!segment) return LocalSegment::none;
    found = LocalSegment::begun;
    if (is_last_page_full(*segment)) return LocalSegment::complete;
    const SegmentSize size(segment->header.segment_size);
    const auto id = parse_segment_name(name.segment, size);
    const auto next = open_segment(directory, segment_name({id->timeline, id->number + 1}, size), system_identifier);
    if (next && ends_with_switch(*segment, *next)) return LocalSegment::complete;
  } catch (const std::exception&) { // made for later use and not begun, or not to be read
    return found;
  }
  return found;
}

bool local_segment_has(const fs::path& directory, const WalFileName& segment, const RestoreFile& padded) noexcept {
  try {
    const auto file = File::open_if_exists(directory / segment.name, O_RDONLY);
    if (!file || file->size() != padded.written()) return false;
    bool same = true; // up to here; behind that there may be padding only
    Bytes local(1 << 20);
    for (std::uint64_t offset = 0; offset < padded.written(); offset += local.size()) {
      const Bytes wanted = padded.read(offset, local.size());
      local.resize(wanted.size());
      if (same && file->read_at(offset, local) != wanted.size()) return false;
      const auto differs = same ? std::ranges::mismatch(wanted, local).in1 : wanted.begin();
      same = differs == wanted.end();
      if (std::any_of(differs, wanted.end(), [](std::byte byte) { return byte != std::byte(0); })) return false;
    }
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

} // namespace dbops::core
