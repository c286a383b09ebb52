// WAL into a real S3 server and back, whole and in chunks, while the network fails.
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/catalogue.h"
#include "core/wal/repository.h"
#include "core/wal/wal_fetch.h"
#include "core/wal/wal_writer.h"
#include "s3_fixture.h"
#include "unit/temporary_directory.h"
#include "unit/wal_fixture.h"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>

namespace dbops::core {
namespace {

class WalOverS3 : public testing::Test {
 protected:
  void SetUp() override {
    if (variable("S3_PROXY_ENDPOINT").empty()) GTEST_SKIP() << "no S3 server";
    s3_ = std::make_unique<S3Under>(test_url(variable("S3_PROXY_ENDPOINT")));
    set_rules("[]");
    open_repository(s3_->store, test_system_identifier, {"i1", "host=a"}, s3_->clock.wall_now(), {});
  }
  void TearDown() override {
    if (s3_) set_rules("[]");
  }
  void set_rules(const std::string& rules) {
    HttpRequest request;
    request.method = "PUT";
    request.url = variable("S3_PROXY_CONTROL") + "/rules";
    request.body = as_bytes(rules);
    ASSERT_EQ(s3_->http.perform(request, {}).status, 200);
  }
  WalFileName name(SegmentNumber number) const { return *parse_wal_file_name(segment_name({1, number}, size_)); }
  std::filesystem::path local(SegmentNumber number) {
    const auto path = directory_.path() / name(number).name;
    write_file(path, make_segment({1, number}, size_));
    return path;
  }
  WalWriter writer() {
    return {s3_->store, s3_->clock, s3_->random, {test_system_identifier, "host=a", {.keys = &keys_}}};
  }
  void put_chunk(SegmentNumber number, std::uint32_t from, std::uint32_t to) {
    const Bytes bytes = make_segment({1, number}, size_);
    writer().put_chunk(name(number), {from, to}, ByteView(bytes).subspan(from, to - from), {});
  }
  WalFetchResult fetch(SegmentNumber number) {
    WalReader reader(s3_->store, test_system_identifier, &keys_);
    const auto target = directory_.path() / "target";
    std::filesystem::remove(target);
    const WalFetchResult result = fetch_to_file(reader, name(number), target, {});
    got_.clear();
    if (std::filesystem::exists(target)) got_ = read_file(target, size_.bytes());
    return result;
  }

  const SegmentSize size_{1 << 20};
  const KeyRing keys_ = KeyRing::parse("k = " + std::string(64, '7'));
  TemporaryDirectory directory_;
  std::unique_ptr<S3Under> s3_;
  Bytes got_;
};

constexpr const char* faults[] = {
    R"("action": "status", "code": 503)",
    R"("action": "status", "code": 429, "s3code": "TooManyRequests")",
    R"("action": "reset")",
    R"("action": "lost_response")",
    R"("action": "lost_fin")",
    R"("action": "truncate_download", "bytes": 100)",
    R"("action": "reset_download", "bytes": 100)",
    R"("action": "corrupt_upload", "bytes": 300)",
    R"("action": "corrupt_download", "bytes": 300)",
    R"("action": "html404")",
    R"("action": "throttle", "rate": 2000000)",
};

TEST_F(WalOverS3, SegmentsAndChunksSurviveEachFault) {
  SegmentNumber number = 1;
  for (const char* fault : faults) {
    const std::string rule = std::string(R"([{"method": "PUT|GET", "skip": 1, "count": 2, )") + fault + "}]";
    set_rules(rule);
    EXPECT_NO_THROW(writer().put_file(name(number), local(number), {})) << fault;
    set_rules(rule);
    EXPECT_NO_THROW(put_chunk(number + 1, 0, 8192)) << fault;
    EXPECT_NO_THROW(put_chunk(number + 1, 8192, 20000)) << fault;
    set_rules(rule);
    EXPECT_EQ(fetch(number), WalFetchResult::whole) << fault;
    EXPECT_EQ(got_, make_segment({1, number}, size_)) << fault;
    set_rules(rule);
    EXPECT_EQ(fetch(number + 1), WalFetchResult::padded) << fault;
    Bytes expected = make_segment({1, number + 1}, size_);
    std::fill(expected.begin() + 20000, expected.end(), std::byte(0));
    EXPECT_EQ(got_, expected) << fault;
    ++number;
  }
}

TEST_F(WalOverS3, AnOutageIsNeverTheEndOfWal) {
  writer().put_file(name(1), local(1), {});
  for (const char* fault : faults) {
    if (std::string_view(fault).find("throttle") != std::string_view::npos) continue;
    if (std::string_view(fault).find("_upload") != std::string_view::npos) continue;
    set_rules(std::string("[{\"method\": \"GET\", ") + fault + "}]");
    EXPECT_THROW(fetch(2), Error) << fault;
  }
  set_rules("[]");
  EXPECT_EQ(fetch(2), WalFetchResult::absent);
}

TEST_F(WalOverS3, ArchivedInParallelAndListed) {
  for (SegmentNumber number = 1; number <= 40; ++number)
    local(number);
  std::atomic<SegmentNumber> next = 1;
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 4; ++i)
      workers.emplace_back([&] {
        WalWriter mine = writer();
        for (SegmentNumber number = next++; number <= 40; number = next++)
          if (number != 20) mine.put_file(name(number), directory_.path() / name(number).name, {});
      });
  }
  const TimelineContents contents = read_timeline(s3_->store, test_system_identifier, 1, size_, {}, {});
  ASSERT_EQ(contents.ranges.size(), 2U);
  EXPECT_EQ(contents.ranges[0].last, 19U);
  EXPECT_EQ(contents.ranges[1].first, 21U);
  EXPECT_EQ(fetch(20), WalFetchResult::gap);
  EXPECT_EQ(fetch(40), WalFetchResult::whole);
}

} // namespace
} // namespace dbops::core
