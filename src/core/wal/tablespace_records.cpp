#include "core/wal/tablespace_records.h"

#include "core/base/error.h"
#include "core/wal/page_header.h"
#include "core/wal/record_walk.h"

#include <cstring>
#include <optional>

namespace dbops::core {

namespace {

constexpr std::uint8_t tablespace_manager = 5;                 // RM_TBLSPC_ID (access/rmgrlist.h)
constexpr std::uint8_t kind_mask = 0xf0, creation_kind = 0x00; // XLOG_TBLSPC_CREATE
// Before its data (access/xlogrecord.h, XLR_BLOCK_ID_*), each with what it takes behind the byte that names it
constexpr std::uint8_t top_transaction = 252, origin = 253, long_data = 254, short_data = 255;
constexpr std::size_t top_transaction_size = 4, origin_size = 2, long_data_size = 4, short_data_size = 1;
// access/xlog_internal.h
constexpr std::size_t long_header_size = 40;
constexpr std::uint16_t begins_with_rest = 0x0001; // XLP_FIRST_IS_CONTRECORD

template <class Value>
Value native(ByteView bytes, std::size_t offset) {
  Value value{};
  std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
  return value;
}

// The data of a record without blocks; absent: it has another form.
std::optional<ByteView> data_of(ByteView body) {
  while (!body.empty()) {
    const auto id = std::to_integer<std::uint8_t>(body.front());
    body = body.subspan(1);
    std::size_t size = 0;
    switch (id) {
    case top_transaction:
      size = top_transaction_size;
      break;
    case origin:
      size = origin_size;
      break;
    case long_data:
      size = long_data_size;
      break;
    case short_data:
      size = short_data_size;
      break;
    default:
      return {};
    }
    if (body.size() < size) return {};
    const ByteView field = body.first(size);
    body = body.subspan(size);
    if (id != long_data && id != short_data) continue;
    const std::uint64_t length =
        id == long_data ? native<std::uint32_t>(field, 0) : std::to_integer<std::uint8_t>(field.front());
    if (length != body.size()) return {};
    return body;
  }
  return {};
}

// xl_tblspc_create_rec (commands/tablespace.h): the OID, and the path with a zero behind it.
TablespaceCreation parse_creation(const WalRecord& record) {
  const auto data = data_of(record.body);
  const auto fail = [&](const char* what) -> TablespaceCreation {
    throw Error(ErrorKind::corrupt, "the record of CREATE TABLESPACE at " + to_string(record.begin) + " " + what);
  };
  if (!data || data->size() <= sizeof(std::uint32_t)) return fail("has a form that is not known");
  const std::string_view path = as_text(data->subspan(sizeof(std::uint32_t)));
  const auto end = path.find('\0');
  if (end == std::string_view::npos) return fail("has a path without end");
  return {record.begin, native<std::uint32_t>(*data, 0), std::string(path.substr(0, end))};
}

void collect(RecordWalk& walk, std::vector<TablespaceCreation>& found) {
  walk.watch(tablespace_manager, [&found](const WalRecord& record) {
    if ((record.info & kind_mask) == creation_kind) found.push_back(parse_creation(record));
  });
}

} // namespace

std::vector<TablespaceCreation> tablespace_creations(ByteView page_before, const ReadWal& segment,
                                                     std::uint64_t segment_size) {
  std::vector<TablespaceCreation> found;
  const Bytes first = segment(0, long_header_size);
  const auto page_size = wal_page_size(first);
  if (!page_size) return found;
  const bool goes_on = (native<std::uint16_t>(first, 2) & begins_with_rest) != 0;
  if (const Lsn start = native<Lsn>(first, 8); goes_on && page_before.size() == *page_size && start >= *page_size) {
    // Such a record is smaller than two pages, also than the smallest ones.
    RecordWalk walk(*page_size * 3, native<std::uint16_t>(first, 0), *page_size, start - *page_size);
    std::vector<TablespaceCreation> around;
    collect(walk, around);
    walk.take(page_before);
    walk.take(segment(0, *page_size * 2));
    for (TablespaceCreation& creation : around)
      if (creation.record < start) found.push_back(std::move(creation));
  }
  RecordWalk walk(segment_size);
  collect(walk, found);
  constexpr std::size_t piece_size = 1 << 20;
  for (std::uint64_t offset = 0; offset < segment_size; offset += piece_size) {
    const Bytes piece = segment(offset, piece_size);
    if (piece.empty()) break;
    walk.take(piece);
  }
  return found;
}

} // namespace dbops::core
