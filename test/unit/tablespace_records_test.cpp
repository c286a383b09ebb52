// CREATE TABLESPACE is found in WAL wherever its record lies, and what is no WAL is not read as some.
#include "core/wal/tablespace_records.h"

#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "core/wal/page_header.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace dbops::core {
namespace {

constexpr std::size_t page_size = 8192, short_header = 24, long_header = 40, record_header = 24, alignment = 8;
constexpr std::uint64_t segment_size = 1 << 20;
constexpr std::uint8_t tablespace_manager = 5, heap_manager = 10;

// Writes records one behind the other over as many segments as they need.
class Wal {
 public:
  explicit Wal(std::uint64_t first_segment = 3) : start_(first_segment * segment_size) {}

  [[nodiscard]] Lsn end() const { return start_ + bytes_.size(); }
  [[nodiscard]] std::size_t left_on_segment() const { return segment_size - bytes_.size() % segment_size; }

  Lsn add(std::uint8_t manager, std::uint8_t info, ByteView body) {
    Bytes record(record_header + body.size());
    put(record, 0, std::uint32_t(record.size()));
    put(record, 4, std::uint32_t(700));
    put(record, 8, previous_);
    put(record, 16, info);
    put(record, 17, manager);
    std::ranges::copy(body, record.begin() + record_header);
    put(record, 20, crc32c(ByteView(record).first(20), crc32c(body)));
    if (bytes_.size() % page_size == 0) begin_page(0);
    const Lsn begin = end();
    for (ByteView rest = record; !rest.empty();) {
      if (bytes_.size() % page_size == 0) begin_page(rest.size());
      const std::size_t here = std::min(rest.size(), page_size - bytes_.size() % page_size);
      append(bytes_, rest.first(here));
      rest = rest.subspan(here);
    }
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    previous_ = begin;
    return begin;
  }
  // Records of another kind until that many bytes are left on the segment.
  void fill(std::size_t left) {
    std::mt19937 engine(7);
    if (bytes_.empty()) begin_page(0);
    while (left_on_segment() > left) {
      const std::size_t room = left_on_segment() - left;
      Bytes body(std::min<std::size_t>(room - record_header, 8 * (engine() % 200)));
      if (room < body.size() + 2 * record_header + 2 * short_header && room <= page_size)
        body.resize(room - record_header);
      for (std::byte& byte : body)
        byte = std::byte(engine() & 0xff);
      add(heap_manager, 0, body);
    }
    ASSERT_EQ(left_on_segment(), left);
  }
  // Filled up with zeros.
  [[nodiscard]] Bytes segment(std::size_t number) const {
    Bytes bytes(segment_size);
    const std::size_t from = number * segment_size;
    if (from < bytes_.size())
      std::copy_n(bytes_.begin() + std::ptrdiff_t(from), std::min<std::size_t>(segment_size, bytes_.size() - from),
                  bytes.begin());
    return bytes;
  }
  [[nodiscard]] Bytes last_page(std::size_t number) const {
    const Bytes bytes = segment(number);
    return {bytes.end() - page_size, bytes.end()};
  }

 private:
  template <class Value>
  static void put(Bytes& into, std::size_t offset, Value value) {
    std::memcpy(into.data() + offset, &value, sizeof value);
  }
  void begin_page(std::size_t rest) {
    const bool is_first = bytes_.size() % segment_size == 0;
    Bytes header(is_first ? long_header : short_header);
    put(header, 0, std::uint16_t(0xD110));
    put(header, 2, std::uint16_t((rest > 0 ? 1 : 0) | (is_first ? 2 : 0)));
    put(header, 4, std::uint32_t(1));
    put(header, 8, end());
    put(header, 16, std::uint32_t(rest));
    if (is_first) {
      put(header, 24, std::uint64_t(7300000000000000001));
      put(header, 32, std::uint32_t(segment_size));
      put(header, 36, std::uint32_t(page_size));
    }
    append(bytes_, header);
  }

  Lsn start_, previous_ = 64;
  Bytes bytes_;
};

// The data of a record of CREATE TABLESPACE, behind its header.
Bytes creation(std::uint32_t oid, const std::string& location) {
  Bytes data(sizeof oid);
  std::memcpy(data.data(), &oid, sizeof oid);
  append(data, as_bytes(location + '\0'));
  Bytes body;
  if (data.size() < 256) {
    body = {std::byte(255), std::byte(data.size())};
  } else {
    const auto size = std::uint32_t(data.size());
    body.resize(1 + sizeof size, std::byte(254));
    std::memcpy(body.data() + 1, &size, sizeof size);
  }
  append(body, data);
  return body;
}

std::vector<TablespaceCreation> look(const Bytes& segment, ByteView page_before = {}) {
  return tablespace_creations(
      page_before,
      [&](std::uint64_t offset, std::size_t length) {
        const std::size_t from = std::min<std::size_t>(offset, segment.size());
        const ByteView part = ByteView(segment).subspan(from, std::min(length, segment.size() - from));
        return Bytes(part.begin(), part.end());
      },
      segment.size());
}

TEST(TablespaceRecords, AreFoundAmongOthers) {
  Wal wal;
  wal.fill(segment_size / 2);
  const Lsn first = wal.add(tablespace_manager, 0, creation(16400, "/srv/fast"));
  wal.add(tablespace_manager, 0x10, creation(16400, "/srv/dropped")); // XLOG_TBLSPC_DROP
  wal.add(heap_manager, 0, creation(16401, "/srv/heap"));
  const Lsn second = wal.add(tablespace_manager, 0, creation(16402, "/" + std::string(1000, 'x')));
  wal.add(tablespace_manager, 0, creation(16403, ""));
  const auto found = look(wal.segment(0));
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].record, first);
  EXPECT_EQ(found[0].oid, 16400U);
  EXPECT_EQ(found[0].location, "/srv/fast");
  EXPECT_EQ(found[1].record, second);
  EXPECT_EQ(found[1].location, "/" + std::string(1000, 'x'));
  EXPECT_EQ(found[2].location, "");
}

// At each distance from a page's end: header and path are cut at each of their bytes that can be.
TEST(TablespaceRecords, GoOverPages) {
  for (std::size_t before = alignment; before <= 88; before += alignment) {
    Wal wal;
    wal.fill(segment_size - 5 * page_size + before);
    wal.add(tablespace_manager, 0, creation(16400, "/srv/a/place/of/some/length"));
    wal.add(heap_manager, 0, creation(1, "x"));
    const auto found = look(wal.segment(0));
    ASSERT_EQ(found.size(), 1U) << before;
    EXPECT_EQ(found[0].location, "/srv/a/place/of/some/length");
  }
}

TEST(TablespaceRecords, GoOverSegments) {
  for (std::size_t before = alignment; before <= 1040; before += 5 * alignment) {
    Wal wal;
    const std::string location = "/" + std::string(1000, 'y');
    wal.fill(before);
    const Lsn record = wal.add(tablespace_manager, 0, creation(16400, location));
    wal.add(tablespace_manager, 0, creation(16401, "/next"));
    const bool is_cut = before < record_header + 5 + 4 + location.size() + 1;
    ASSERT_EQ(look(wal.segment(0)).size(), is_cut ? 0U : 1U) << before;
    ASSERT_EQ(look(wal.segment(1)).size(), 1U) << before;
    const auto found = look(wal.segment(1), wal.last_page(0));
    ASSERT_EQ(found.size(), is_cut ? 2U : 1U) << before;
    EXPECT_EQ(found.back().location, "/next");
    if (!is_cut) continue;
    EXPECT_EQ(found[0].record, record);
    EXPECT_EQ(found[0].location, location);
  }
}

TEST(TablespaceRecords, AnotherPageBeforeIsNotFollowed) {
  Wal wal, other(9);
  wal.fill(64);
  wal.add(tablespace_manager, 0, creation(16400, "/srv/cut/at/the/end/of/the/segment"));
  wal.add(tablespace_manager, 0, creation(16401, "/next"));
  other.fill(8);
  other.add(heap_manager, 0, creation(1, "x"));
  for (const Bytes& page : {other.last_page(0), Bytes(page_size), Bytes(page_size / 2), wal.last_page(1)}) {
    const auto found = look(wal.segment(1), page);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].location, "/next");
  }
}

TEST(TablespaceRecords, EndWithTheWal) {
  Wal wal;
  wal.fill(segment_size - 3 * page_size - 512);
  wal.add(tablespace_manager, 0, creation(16400, "/srv/a"));
  Bytes bytes = wal.segment(0);
  const auto text = as_text(bytes);
  bytes[text.find("/srv/a") + 1] ^= std::byte(1); // its checksum is wrong
  EXPECT_TRUE(look(bytes).empty());
  EXPECT_TRUE(look(Bytes(segment_size)).empty());
  EXPECT_TRUE(look({}).empty());
  EXPECT_TRUE(look(Bytes(39)).empty());
  Bytes recycled = wal.segment(0); // pages of an older segment behind the end
  std::copy_n(recycled.begin() + 3 * page_size, page_size, recycled.begin() + 10 * page_size);
  EXPECT_EQ(look(recycled).size(), 1U);
}

// The last record of such a page would begin within the last bytes of it.
TEST(TablespaceRecords, APageHasASizeThatIsAPowerOfTwo) {
  Wal wal;
  wal.fill(segment_size / 2);
  wal.add(tablespace_manager, 0, creation(16400, "/srv/a"));
  for (const std::uint32_t size : {1025U, 8190U, 8193U, 512U, 128U << 10}) {
    Bytes bytes = wal.segment(0);
    std::memcpy(bytes.data() + 36, &size, sizeof size);
    EXPECT_FALSE(wal_page_size(bytes)) << size;
    EXPECT_TRUE(look(bytes).empty()) << size;
  }
}

TEST(TablespaceRecords, AFormThatIsNotKnownIsSaid) {
  for (const Bytes& body : {Bytes{}, Bytes(8), Bytes{std::byte(255), std::byte(2), std::byte(0), std::byte(0)},
                            Bytes{std::byte(255), std::byte(9), std::byte(0)}}) {
    Wal wal;
    wal.add(tablespace_manager, 0, body);
    EXPECT_THROW(look(wal.segment(0)), Error);
  }
}

TEST(TablespaceRecords, AnyBytesAreRead) {
  Wal wal;
  wal.fill(200);
  wal.add(tablespace_manager, 0, creation(16400, "/" + std::string(500, 'z')));
  const Bytes good = wal.segment(0), page = wal.last_page(0), next = wal.segment(1);
  std::mt19937 engine(20261123);
  for (int round = 0; round < 300; ++round) {
    Bytes bytes = round % 2 == 0 ? good : next, before = page;
    for (int change = 0; change < 1 + round % 40; ++change) {
      bytes[engine() % (round % 3 == 0 ? 64 : bytes.size())] = std::byte(engine() & 0xff);
      before[engine() % before.size()] = std::byte(engine() & 0xff);
    }
    bytes.resize(bytes.size() - engine() % (round % 5 == 0 ? bytes.size() : 2));
    try {
      for (const auto& found : look(bytes, before))
        EXPECT_LE(found.location.size(), 1024U);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::corrupt);
    }
  }
}

} // namespace
} // namespace dbops::core
