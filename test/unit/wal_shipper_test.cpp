#include "core/wal/wal_shipper.h"

#include "core/store/memory_store.h"
#include "core/wal/restore_plan.h"
#include "core/wal/wal_reader.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

const SegmentSize size(1 << 20);

class WalShipperTest : public testing::Test {
 protected:
  void write_segment(SegmentNumber number, unsigned seed = 1, TimelineId timeline = 1) {
    write_file(wal_.path() / segment_name({timeline, number}, size), make_segment({timeline, number}, size, seed));
  }
  std::unique_ptr<WalShipper> shipper(const std::string& instance = "a") {
    auto fence = std::make_shared<TimelineFence>(*store_, test_system_identifier, Owner{instance, "host=" + instance},
                                                 clock_, milliseconds(0));
    return std::make_unique<WalShipper>(ShipperSetup{
        .store = store_,
        .fence = std::move(fence),
        .keys = nullptr,
        .clock = clock_,
        .random = random_,
        .writer = {.system_identifier = test_system_identifier, .origin = "here", .encoding = {.compression_level = 1}},
        .directory = wal_.path(),
        .segment_size = size});
  }
  static ShipTarget at(Lsn flushed, Lsn archived = size.bytes(), TimelineId timeline = 1) {
    return {.timeline = timeline, .flushed = flushed, .archived = archived};
  }
  static Lsn in_segment(SegmentNumber number, Lsn offset) { return size.start_of(number) + offset; }
  std::uint32_t covered(SegmentNumber number, TimelineId timeline = 1) {
    WalReader reader(*store_, test_system_identifier, nullptr);
    const auto name = *parse_wal_file_name(segment_name({timeline, number}, size));
    return plan_chunks(reader.list_chunks(name, {}), std::uint32_t(size.bytes())).covered;
  }
  int count_requests() {
    requests_ = 0;
    store_->set_hook([this](MemoryStore::Operation, const std::string&, bool after) { requests_ += after ? 0 : 1; });
    return 0;
  }

  FakeClock clock_;
  SeededRandom random_;
  TemporaryDirectory wal_;
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>(clock_);
  int requests_ = 0;
};

TEST_F(WalShipperTest, ShipsWhatIsFlushedAndNoMore) {
  write_segment(1);
  const auto ship = shipper();
  ship->advance(at(in_segment(1, 5000)), {});
  EXPECT_EQ(covered(1), 5000U);
  EXPECT_EQ(ship->shipped().from, in_segment(1, 0));
  EXPECT_EQ(ship->shipped().to, in_segment(1, 5000));
  ship->advance(at(in_segment(1, 9000)), {});
  EXPECT_EQ(covered(1), 9000U);
}

TEST_F(WalShipperTest, AnIdleServerMakesNoRequest) {
  write_segment(1);
  const auto ship = shipper();
  ship->advance(at(in_segment(1, 5000)), {});
  count_requests();
  for (int i = 0; i < 10; ++i)
    ship->advance(at(in_segment(1, 5000)), {});
  EXPECT_EQ(requests_, 0);
}

TEST_F(WalShipperTest, ANewProcessGoesOnWhereTheStoreIs) {
  write_segment(1);
  shipper()->advance(at(in_segment(1, 5000)), {});
  const auto second = shipper();
  second->advance(at(in_segment(1, 6000)), {});
  EXPECT_EQ(second->counters().chunks, 1U);
  EXPECT_EQ(second->counters().bytes, 1000U) << "what is there is not shipped again";
  EXPECT_EQ(second->shipped().from, in_segment(1, 0));
}

TEST_F(WalShipperTest, ALostAnswerIsMadeUpFor) {
  write_segment(1);
  const auto ship = shipper();
  bool lost = false;
  store_->set_hook([&](MemoryStore::Operation operation, const std::string& key, bool after) {
    if (operation == MemoryStore::Operation::put && after && key.find("00001388") != std::string::npos && !lost) {
      lost = true;
      throw Error(ErrorKind::unavailable, "reset");
    }
  });
  EXPECT_THROW(ship->advance(at(in_segment(1, 5000)), {}), Error);
  EXPECT_TRUE(lost);
  EXPECT_EQ(ship->shipped().to, in_segment(1, 0)) << "not counted as durable";
  ship->advance(at(in_segment(1, 5000)), {});
  EXPECT_EQ(ship->shipped().to, in_segment(1, 5000));
  ship->advance(at(in_segment(1, 7000)), {});
  EXPECT_EQ(covered(1), 7000U);
}

TEST_F(WalShipperTest, TheRestOfASegmentIsTheArchiversUntilItTakesLong) {
  write_segment(1);
  write_segment(2);
  const auto ship = shipper();
  ship->advance(at(in_segment(1, 5000)), {});
  ship->advance(at(in_segment(2, 100)), {});
  EXPECT_EQ(covered(1), 5000U);
  EXPECT_EQ(covered(2), 100U);
  clock_.advance(std::chrono::seconds(5));
  ship->advance(at(in_segment(2, 200)), {});
  EXPECT_EQ(covered(1), size.bytes()) << "the archiver did not";
  EXPECT_EQ(covered(2), 200U);
}

TEST_F(WalShipperTest, TheRestOfASegmentIsShippedAlsoWhenNothingFollows) {
  write_segment(1);
  const auto ship = shipper();
  ship->advance(at(in_segment(1, 5000)), {});
  ship->advance(at(in_segment(2, 0)), {}); // pg_switch_wal()
  EXPECT_TRUE(ship->pending());
  clock_.advance(std::chrono::seconds(5));
  ship->advance(at(in_segment(2, 0)), {});
  EXPECT_EQ(covered(1), size.bytes());
  EXPECT_EQ(ship->shipped().to, in_segment(2, 0));
  EXPECT_FALSE(ship->pending());
}

TEST_F(WalShipperTest, TheRestOfASegmentIsShippedAlsoWhenTheServerIsIdle) {
  write_segment(1);
  write_segment(2);
  const auto ship = shipper();
  ship->advance(at(in_segment(1, 5000)), {});
  ship->advance(at(in_segment(2, 100)), {});
  EXPECT_TRUE(ship->pending());
  clock_.advance(std::chrono::seconds(5));
  ship->advance(at(in_segment(2, 100)), {});
  EXPECT_EQ(covered(1), size.bytes());
  EXPECT_EQ(ship->shipped().from, in_segment(1, 0));
  EXPECT_EQ(ship->shipped().to, in_segment(2, 100));
}

TEST_F(WalShipperTest, AnArchivedSegmentIsLeftAlone) {
  write_segment(1);
  write_segment(2);
  const auto ship = shipper();
  ship->advance(at(in_segment(1, 5000)), {});
  clock_.advance(std::chrono::seconds(5));
  ship->advance(at(in_segment(2, 100), in_segment(2, 0)), {});
  EXPECT_EQ(covered(1), 5000U);
}

TEST_F(WalShipperTest, WalThatWasSetBackIsDivergence) {
  write_segment(1);
  shipper()->advance(at(in_segment(1, 9000)), {});
  const auto back = shipper();
  try {
    back->advance(at(in_segment(1, 5000)), {});
    FAIL();
  } catch (const Diverged& error) {
    EXPECT_EQ(error.seen(), in_segment(1, 9000)) << "unless the server has come this far by now";
  }
  EXPECT_EQ(covered(1), 9000U) << "nothing is overwritten";
}

TEST_F(WalShipperTest, WalThatWentOnDifferentlyIsDivergence) {
  write_segment(1);
  shipper()->advance(at(in_segment(1, 9000)), {});
  write_segment(1, 77);
  try {
    shipper()->advance(at(in_segment(1, 12000)), {});
    FAIL();
  } catch (const Diverged& error) {
    EXPECT_EQ(error.seen(), ~Lsn(0)) << "whatever the server does";
  }
}

TEST_F(WalShipperTest, DivergenceStaysWhenTheServerHasLeftTheSegment) {
  write_segment(1);
  shipper()->advance(at(in_segment(1, 9000)), {});
  write_segment(1, 77);
  write_segment(2, 77);
  EXPECT_THROW(shipper()->advance(at(in_segment(2, 5000)), {}), Diverged);
  EXPECT_EQ(covered(2), 0U) << "nothing of the other history";
  write_segment(1);
  shipper()->advance(at(in_segment(2, 5000)), {});
  EXPECT_EQ(covered(2), 5000U);
}

TEST_F(WalShipperTest, ZerosAtTheEndAreNoHistory) {
  const auto write = [&](unsigned seed) {
    Bytes bytes = make_segment({1, 1}, size, seed);
    std::fill(bytes.begin() + 9000, bytes.end(), std::byte(0));
    write_file(wal_.path() / segment_name({1, 1}, size), bytes);
  };
  write(1);
  const auto first = shipper();
  first->advance(at(in_segment(1, 9000)), {});
  first->advance(at(in_segment(1, 20000)), {});
  write(77);
  EXPECT_THROW(shipper()->advance(at(in_segment(1, 30000)), {}), Diverged);
}

TEST_F(WalShipperTest, LaterWalInTheStoreIsDivergence) {
  write_segment(1);
  write_segment(2);
  shipper()->advance(at(in_segment(2, 9000)), {});
  EXPECT_THROW(shipper()->advance(at(in_segment(1, 5000)), {}), Diverged);
}

TEST_F(WalShipperTest, AnotherInstanceIsRefused) {
  write_segment(1);
  shipper()->advance(at(in_segment(1, 9000)), {});
  EXPECT_THROW(shipper("b")->advance(at(in_segment(1, 12000)), {}), Error);
  EXPECT_EQ(covered(1), 9000U);
}

TEST_F(WalShipperTest, ANewTimelineBeginsAtTheStartOfItsSegment) {
  write_segment(1);
  write_segment(1, 1, 2);
  const auto ship = shipper();
  ship->advance(at(in_segment(1, 5000)), {});
  ship->advance(at(in_segment(1, 6000), size.bytes(), 2), {});
  EXPECT_EQ(covered(1, 2), 6000U);
  EXPECT_EQ(ship->shipped().timeline, 2U);
  EXPECT_EQ(ship->shipped().from, in_segment(1, 0));
}

TEST_F(WalShipperTest, ARecycledSegmentIsNotRead) {
  write_segment(1);
  const auto ship = shipper();
  ship->advance(at(in_segment(1, 5000)), {});
  std::filesystem::rename(wal_.path() / segment_name({1, 1}, size), wal_.path() / segment_name({1, 7}, size));
  try {
    ship->advance(at(in_segment(1, 9000)), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::not_found);
  }
  EXPECT_EQ(covered(1), 5000U);
}

} // namespace
} // namespace dbops::core
