#include "core/wal/layout.h"
#include "core/wal/page_header.h"
#include "core/wal/segment.h"

#include "core/base/error.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

TEST(Segments, SizesThatInitdbAllows) {
  for (const std::uint64_t bytes : {1ULL << 20, 16ULL << 20, 64ULL << 20, 1ULL << 30})
    EXPECT_EQ(SegmentSize(bytes).bytes(), bytes);
  for (const std::uint64_t bytes : {0ULL, 1ULL << 19, 3ULL << 20, 1ULL << 31, ~0ULL})
    EXPECT_THROW(SegmentSize{bytes}, Error) << bytes;
}

TEST(Segments, NamesBothWays) {
  // 0x100 segments of 16 MiB in a log of 4 GiB, 0x1000 of 1 MiB, 4 of 1 GiB
  struct Case {
    std::uint64_t size;
    SegmentId id;
    const char* name;
  };
  for (const Case& c : {Case{16ULL << 20, {1, 1}, "000000010000000000000001"},
                        Case{16ULL << 20, {0x2a, 0x1ff}, "0000002A00000001000000FF"},
                        Case{1ULL << 20, {1, 0x1fff}, "000000010000000100000FFF"},
                        Case{64ULL << 20, {1, 0x41}, "000000010000000100000001"},
                        Case{1ULL << 30, {0xffffffff, 0xffffffffULL * 4 + 3}, "FFFFFFFFFFFFFFFF00000003"}}) {
    EXPECT_EQ(segment_name(c.id, SegmentSize(c.size)), c.name);
    EXPECT_EQ(parse_segment_name(c.name, SegmentSize(c.size)), c.id) << c.name;
  }
}

TEST(Segments, NamesThatAreNone) {
  for (const char* name : {"", "00000001000000000000000", "0000000100000000000000011", "00000001000000000000000g",
                           "00000001000000000000000a", "000000000000000000000001", "000000010000000000000100"})
    EXPECT_FALSE(parse_segment_name(name, SegmentSize(16 << 20))) << name;
}

TEST(Segments, LsnText) {
  EXPECT_EQ(to_string(Lsn(0x16B374D848)), "16/B374D848");
  EXPECT_EQ(to_string(Lsn(0)), "0/0");
  EXPECT_EQ(parse_lsn("16/B374D848"), Lsn(0x16B374D848));
  EXPECT_EQ(parse_lsn("0/0"), Lsn(0));
  for (const char* text : {"", "/", "1/", "/1", "1", "1/2/3", "g/1", "100000000/0", "-1/0"})
    EXPECT_FALSE(parse_lsn(text)) << text;
}

TEST(WalFileNames, Kinds) {
  EXPECT_EQ(parse_wal_file_name("000000010000000000000001")->kind, WalFileKind::segment);
  EXPECT_EQ(parse_wal_file_name("000000010000000000000001.partial")->kind, WalFileKind::partial);
  EXPECT_EQ(parse_wal_file_name("000000010000000000000001.00000028.backup")->kind, WalFileKind::backup);
  EXPECT_EQ(parse_wal_file_name("0000000A.history")->kind, WalFileKind::history);
  EXPECT_EQ(parse_wal_file_name("0000000A.history")->timeline, "0000000A");
  for (const char* name : {"", ".", "archive_status", "000000010000000000000001.partial.partial", "../x",
                           "00000001.histor", "000000010000000000000001.0000028.backup", "0000000a.history",
                           "000000010000000000000001/.partial", "000000010000000000000001.", "00000001.partial"})
    EXPECT_FALSE(parse_wal_file_name(name)) << name;
}

TEST(Layout, Keys) {
  const auto key = [](const char* name) { return wal_file_key(*parse_wal_file_name(name)); };
  EXPECT_EQ(cluster_prefix(test_system_identifier), "7300000000000000001/");
  EXPECT_EQ(key("0000000100000002000000FF"), "wal/00000001/00000002/0000000100000002000000FF.zst");
  EXPECT_EQ(key("0000000100000002000000FF.partial"), "wal/00000001/00000002/0000000100000002000000FF.partial");
  EXPECT_EQ(key("0000000100000002000000FF.00000028.backup"),
            "wal/00000001/00000002/0000000100000002000000FF.00000028.backup");
  EXPECT_EQ(key("00000002.history"), "wal/00000002.history");
  EXPECT_EQ(chunk_key(*parse_wal_file_name("0000000100000002000000FF"), {0x2000, 0x3ff00}),
            "wal/00000001/00000002/0000000100000002000000FF/00002000-0003FF00.zst");
}

TEST(Layout, KeysAreParsedBack) {
  for (const char* name : {"0000000100000002000000FF", "0000000100000002000000FF.partial",
                           "0000000100000002000000FF.00000028.backup", "00000002.history"}) {
    const auto parsed = parse_wal_key(wal_file_key(*parse_wal_file_name(name)));
    ASSERT_TRUE(parsed) << name;
    EXPECT_EQ(parsed->file.name, name);
    EXPECT_FALSE(parsed->chunk);
  }
  const auto chunk = parse_wal_key("wal/00000001/00000002/0000000100000002000000FF/00002000-0003FF00.zst");
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->file.name, "0000000100000002000000FF");
  EXPECT_EQ(chunk->chunk, (ChunkRange{0x2000, 0x3ff00}));
  for (const char* key : {"wal", "wal/00000001/owner.json", "wal/00000001/00000002/0000000100000002000000FF",
                          "wal/00000002/00000002/0000000100000002000000FF.zst", "wal/00000002.history.zst",
                          "wal/00000001/00000002/0000000100000002000000FF/00003000-00002000.zst",
                          "wal/00000001/00000002/0000000100000002000000FF/00002000-00002000.zst",
                          "x/wal/00000001/00000002/0000000100000002000000FF/00002000-00003000.zst"})
    EXPECT_FALSE(parse_wal_key(key)) << key;

  const std::string partial = "wal/00000001/00000002/0000000100000002000000FF.partial";
  const WalFileName segment = *parse_wal_file_name("0000000100000002000000FF");
  EXPECT_EQ(parse_remnant_key(remnant_key(segment, Bytes(32))).value().name, "0000000100000002000000FF.partial");
  for (const std::string& key :
       {partial, partial + ".", partial + ".0123456789abcde", partial + ".0123456789abcdef0",
        partial + "x0123456789abcdef", partial + ".0123456789ABCDEF", "x/" + partial + ".0123456789abcdef",
        wal_file_key(segment) + ".0123456789abcdef", std::string(".0123456789abcdef"), std::string()})
    EXPECT_FALSE(parse_remnant_key(key)) << key;
}

TEST(PageHeader, SegmentIsCheckedAgainstItsName) {
  const SegmentSize size(1 << 20);
  const Bytes segment = make_segment({3, 7}, size);
  const auto check = [&](const SegmentId& id, std::uint64_t file_size, std::uint64_t cluster) {
    check_segment(ByteView(segment).first(64), file_size, cluster, segment_name(id, size));
  };
  EXPECT_NO_THROW(check({3, 7}, 1 << 20, test_system_identifier));
  EXPECT_NO_THROW(check({4, 7}, 1 << 20, test_system_identifier)); // copied at a timeline switch
  EXPECT_THROW(check({2, 7}, 1 << 20, test_system_identifier), Error);
  EXPECT_THROW(check({3, 8}, 1 << 20, test_system_identifier), Error);
  EXPECT_THROW(check({3, 7}, (1 << 20) - 1, test_system_identifier), Error);
  EXPECT_THROW(check({3, 7}, 1 << 20, 42), Error);
  EXPECT_THROW(parse_segment_header(ByteView(segment).first(39)), Error);
  EXPECT_THROW(parse_segment_header(Bytes(64)), Error);
}

} // namespace
} // namespace dbops::core
