// Which tablespaces a server that recovers must not make.
#include "cli/tablespace_guard.h"

#include "backup_round_trip.h"
#include "core/base/crc32c.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

#include <fstream>

namespace dbops::cli {
namespace {

namespace fs = std::filesystem;
using core::Bytes;
using core::ByteView;
using core::Lsn;

constexpr std::size_t page_size = 8192, short_header = 24, long_header = 40, record_header = 24;

class TablespaceGuardTest : public testing::Test {
 protected:
  TablespaceGuardTest() {
    for (const fs::path part : {"data/global", "data/pg_wal", "data/pg_tblspc", "place"})
      fs::create_directories(directory_.path() / part);
    std::ofstream(data_ / "PG_VERSION") << "15\n";
    std::ofstream(data_ / "backup_label") << "START WAL LOCATION: 0/100028 (file 000000010000000000000001)\n";
    core::write_file(data_ / "global/pg_control", core::control_file());
    version_ = "PG_15_" + std::to_string(core::catalog_version(core::control_file()));
  }

  template <class Value>
  static void put(Bytes& bytes, std::size_t offset, Value value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
  }
  // Two segments, the second one of a new timeline, in which the record begins that many bytes before the end of the
  // first one.
  void write_record(std::size_t before) {
    const std::size_t page = size_.bytes() - page_size;
    const Lsn start = size_.start_of(3) + page;
    const std::string path = place_.string() + '\0';
    Bytes body{std::byte(255), std::byte(sizeof oid_ + path.size())};
    body.resize(body.size() + sizeof oid_);
    put(body, 2, oid_);
    core::append(body, core::as_bytes(path));
    Bytes record(record_header);
    put(record, 0, std::uint32_t(record.size() + body.size()));
    put(record, 8, Lsn(start + short_header)); // the record that takes the page up to it
    put(record, 17, std::uint8_t(5));          // RM_TBLSPC_ID
    put(record, 20, core::crc32c(ByteView(record).first(20), core::crc32c(body)));
    core::append(record, body);
    const auto cut = record.begin() + std::ptrdiff_t(before);

    before_.resize(size_.bytes());
    put(before_, page, std::uint16_t(0xD110));
    put(before_, page + 8, start);
    put(before_, page + short_header, std::uint32_t(page_size - short_header - before));
    put(before_, page + short_header + 8, size_.start_of(3));
    std::copy(record.begin(), cut, before_.end() - std::ptrdiff_t(before));
    here_ = core::make_segment({2, 4}, size_);
    std::fill(here_.begin() + long_header, here_.end(), std::byte(0));
    put(here_, 2, std::uint16_t(0x0003));
    put(here_, 16, std::uint32_t(record.end() - cut));
    std::copy(cut, record.end(), here_.begin() + long_header);
  }
  bool refuses(bool none_at_all = false) {
    core::RestoreFile file(data_ / "pg_wal" / "RECOVERYXLOG");
    file.write(here_);
    return TablespaceGuard(data_, none_at_all)
        .look_at(file, data_ / "pg_wal", core::segment_name({2, 4}, size_))
        .has_value();
  }

  const core::SegmentSize size_{1 << 20};
  const std::uint32_t oid_ = 16400;
  core::TemporaryDirectory directory_;
  const fs::path data_ = directory_.path() / "data", place_ = directory_.path() / "place";
  std::string version_;
  Bytes before_, here_;
};

TEST_F(TablespaceGuardTest, ARecordMayBeginInASegmentOfAnOlderTimeline) {
  write_record(32);
  fs::create_directory(place_ / version_);
  EXPECT_FALSE(refuses()) << "where the beginning is not known";
  core::write_file(data_ / "pg_wal" / core::segment_name({1, 3}, size_), before_);
  EXPECT_TRUE(refuses());
  core::write_file(data_ / "pg_wal" / core::segment_name({3, 3}, size_), Bytes(size_.bytes()));
  EXPECT_TRUE(refuses()) << "a later timeline's is not that one";
}

TEST_F(TablespaceGuardTest, GoesByWhatIsThere) {
  write_record(32);
  core::write_file(data_ / "pg_wal" / core::segment_name({1, 3}, size_), before_);
  EXPECT_FALSE(refuses()) << "nothing";
  EXPECT_TRUE(refuses(true)) << "none at all";
  fs::create_directory(place_ / "PG_14_202107181");
  EXPECT_FALSE(refuses()) << "of another version";
  fs::create_directory(place_ / version_);
  EXPECT_TRUE(refuses()) << "a server's, which is empty yet";
  fs::create_directory_symlink(directory_.path(), data_ / "pg_tblspc" / std::to_string(oid_));
  EXPECT_TRUE(refuses()) << "this server has it elsewhere";
  fs::create_directory_symlink(place_, data_ / "pg_tblspc" / "16390");
  EXPECT_FALSE(refuses()) << "its own, of a tablespace that was there before";
  EXPECT_FALSE(refuses(true));
  fs::remove(data_ / "pg_tblspc" / "16390");
  std::ofstream(data_ / "backup_label") << "START WAL LOCATION: 0/400028 (file 000000010000000000000004)\n";
  EXPECT_FALSE(refuses()) << "before the begin of replay";
  fs::remove(data_ / "PG_VERSION");
  std::ofstream(data_ / "backup_label") << "";
  EXPECT_FALSE(refuses()) << "no data directory";
}

} // namespace
} // namespace dbops::cli
