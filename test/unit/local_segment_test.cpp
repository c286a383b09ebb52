// What lies in pg_wal counts as the whole segment only when its end is there.
#include "core/wal/local_segment.h"

#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

constexpr std::size_t page_size = 8192, short_header = 24, long_header = 40, record_header = 24;

class LocalSegmentTest : public testing::Test {
 protected:
  template <class Value>
  static void put(Bytes& bytes, std::size_t offset, Value value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
  }
  // Page headers and records of 200 bytes, each pointing to the one before it, up to that offset; zeros behind it.
  Bytes wal(SegmentNumber number, std::size_t up_to, TimelineId timeline = 1) {
    Bytes bytes(size_.bytes());
    const Lsn begin = size_.start_of(number);
    Lsn previous = begin - 500;
    for (std::size_t page = 0; page < up_to; page += page_size) {
      put(bytes, page, std::uint16_t(0xD110));
      put(bytes, page + 2, std::uint16_t(page == 0 ? 0x0002 : 0));
      put(bytes, page + 4, timeline);
      put(bytes, page + 8, begin + page);
      for (std::size_t place = page + (page == 0 ? long_header : short_header); place + 200 <= page + page_size;
           place += 200) {
        if (place + 200 > up_to) return finished(bytes, number);
        const bool last = place + 400 > page + page_size; // takes the rest of the page
        put_record(bytes, place, std::uint32_t(last ? page + page_size - place : 200), previous);
        previous = begin + place;
      }
    }
    return finished(bytes, number);
  }
  Bytes finished(Bytes& bytes, SegmentNumber /*number*/) {
    put(bytes, 24, test_system_identifier);
    put(bytes, 32, std::uint32_t(size_.bytes()));
    put(bytes, 36, std::uint32_t(page_size));
    return std::move(bytes);
  }
  static void put_record(Bytes& bytes, std::size_t place, std::uint32_t length, Lsn previous, std::uint8_t info = 0,
                         std::uint8_t manager = 10) {
    put(bytes, place, length);
    put(bytes, place + 8, previous);
    put(bytes, place + 16, info);
    put(bytes, place + 17, manager);
  }
  // A switch at that offset, and the segment behind it, which points to it.
  void put_switch(SegmentNumber number, std::size_t place, std::uint8_t info = 0x40) {
    Bytes bytes = wal(number, place);
    put_record(bytes, place, record_header, size_.start_of(number), info, 0);
    write(number, bytes);
    Bytes next = wal(number + 1, 1000);
    put_record(next, long_header, 200, size_.start_of(number) + place);
    write(number + 1, next);
  }
  std::string name(SegmentNumber number) { return segment_name({1, number}, size_); }
  void write(SegmentNumber number, const Bytes& bytes) { write_file(directory_.path() / name(number), bytes); }
  LocalSegment look(SegmentNumber number) {
    return look_at_local_segment(directory_.path(), *parse_wal_file_name(name(number)), test_system_identifier);
  }

  const SegmentSize size_{1 << 20};
  TemporaryDirectory directory_;
};

TEST_F(LocalSegmentTest, NoneWhenItIsNotThereOrNotBegun) {
  EXPECT_EQ(look(3), LocalSegment::none);
  write(3, Bytes(size_.bytes()));
  EXPECT_EQ(look(3), LocalSegment::none) << "made for later use";
  write(3, wal(1, size_.bytes()));
  EXPECT_EQ(look(3), LocalSegment::none) << "recycled";
  Bytes foreign = wal(3, size_.bytes());
  put(foreign, 24, std::uint64_t(42));
  write(3, foreign);
  EXPECT_EQ(look(3), LocalSegment::none);
  Bytes shorter = wal(3, size_.bytes());
  shorter.resize(size_.bytes() / 2);
  write(3, shorter);
  EXPECT_EQ(look(3), LocalSegment::none);
}

TEST_F(LocalSegmentTest, CompleteWhenRecordsReachItsEnd) {
  write(3, wal(3, size_.bytes()));
  EXPECT_EQ(look(3), LocalSegment::complete);
}

TEST_F(LocalSegmentTest, ARecordMayGoOnBehindIt) {
  Bytes bytes = wal(3, size_.bytes());
  const std::size_t page = size_.bytes() - page_size;
  put(bytes, page + 2, std::uint16_t(1));
  put(bytes, page + 16, std::uint32_t(100'000));
  write(3, bytes);
  EXPECT_EQ(look(3), LocalSegment::complete);
}

TEST_F(LocalSegmentTest, BegunAsLongAsItsLastPageIsNotFull) {
  for (const std::size_t up_to : {std::size_t(1000), std::size_t(1 << 19), std::size_t((1 << 20) - page_size),
                                  std::size_t((1 << 20) - page_size / 2)}) {
    write(3, wal(3, up_to));
    EXPECT_EQ(look(3), LocalSegment::begun) << up_to;
  }
}

// A file that was copied while it was written, or one that was recycled: the end is of something else.
TEST_F(LocalSegmentTest, BegunWhenItsLastPageIsOfAnotherSegment) {
  Bytes bytes = wal(3, 1 << 19);
  const Bytes old = wal(2, size_.bytes());
  std::copy(old.end() - page_size, old.end(), bytes.end() - page_size);
  write(3, bytes);
  EXPECT_EQ(look(3), LocalSegment::begun);
}

TEST_F(LocalSegmentTest, RecordsOfTheLastPagePointToEachOther) {
  Bytes bytes = wal(3, size_.bytes());
  const std::size_t second = size_.bytes() - page_size + short_header + 200;
  put(bytes, second + 8, size_.start_of(2));
  write(3, bytes);
  EXPECT_EQ(look(3), LocalSegment::begun);
}

TEST_F(LocalSegmentTest, ASwitchIsAnEndWhenTheNextSegmentFollowsIt) {
  const std::size_t place = page_size * 10 + short_header;
  put_switch(3, place);
  EXPECT_EQ(look(3), LocalSegment::complete);
  put_switch(3, place, 0x50);
  EXPECT_EQ(look(3), LocalSegment::begun) << "another record";
  put_switch(3, place);
  write(4, wal(4, 1000));
  EXPECT_EQ(look(3), LocalSegment::begun) << "it follows something else";
  put_switch(3, place);
  std::filesystem::remove(directory_.path() / name(4));
  EXPECT_EQ(look(3), LocalSegment::begun) << "nothing says that it ends there";
}

// It was copied half-filled, a moment before the next one was made.
TEST_F(LocalSegmentTest, TheNextSegmentAloneProvesNothing) {
  put_switch(3, page_size * 10 + short_header);
  write(3, wal(3, page_size * 9));
  EXPECT_EQ(look(3), LocalSegment::begun);
}

TEST_F(LocalSegmentTest, AHeaderOfASwitchMayLieOnTwoPages) {
  const std::size_t place = page_size * 11 - 8;
  put_switch(3, place);
  Bytes bytes = wal(3, page_size * 11);
  Bytes record(record_header);
  put_record(record, 0, record_header, size_.start_of(3), 0x40, 0);
  std::copy_n(record.begin(), 8, bytes.begin() + std::ptrdiff_t(place));
  std::copy(record.begin() + 8, record.end(), bytes.begin() + std::ptrdiff_t(place + 8 + short_header));
  write(3, bytes);
  EXPECT_EQ(look(3), LocalSegment::complete);
}

TEST_F(LocalSegmentTest, HasWhatWasStreamedOrMore) {
  const Bytes whole = wal(3, size_.bytes());
  const auto has = [&](std::size_t local, std::size_t streamed, std::size_t other = 0) {
    Bytes bytes = whole;
    std::fill(bytes.begin() + std::ptrdiff_t(local), bytes.end(), std::byte(0));
    if (other != 0) bytes[other] ^= std::byte(1);
    write(3, bytes);
    bytes = whole;
    std::fill(bytes.begin() + std::ptrdiff_t(streamed), bytes.end(), std::byte(0));
    RestoreFile padded(directory_.path() / "got");
    padded.write(bytes);
    return local_segment_has(directory_.path(), *parse_wal_file_name(name(3)), padded);
  };
  for (const std::size_t streamed : {std::size_t(0), std::size_t(8192), std::size_t(1 << 19)}) {
    EXPECT_TRUE(has(size_.bytes(), streamed));
    EXPECT_TRUE(has(streamed, streamed));
  }
  EXPECT_FALSE(has(8192, 16384));
  EXPECT_FALSE(has(8192, 1 << 20));
  EXPECT_FALSE(has(size_.bytes(), 1 << 19, 5000)) << "of another history";
  EXPECT_TRUE(has(size_.bytes(), 1 << 19, (1 << 19) + 5000)) << "behind what was streamed";
}

} // namespace
} // namespace dbops::core
