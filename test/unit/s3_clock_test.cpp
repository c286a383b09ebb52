// A store whose clock is not this machine's: requests are signed with its own, once it has refused ours.
#include "core/store/s3_store.h"

#include "core/base/error.h"
#include "fake_time_and_random.h"
#include "one_key.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace dbops::core {
namespace {

// Refuses all that is not signed with its own time; has every object.
class PunctualStore final : public HttpTransport {
 public:
  explicit PunctualStore(FakeClock& clock) : clock_(clock) {}
  std::chrono::seconds offset{0};
  std::string date; // of its answers
  int requests = 0;

  HttpResponse perform(const HttpRequest& request, const CallContext& /*context*/) override {
    ++requests;
    HttpResponse response{.status = 200, .headers = {{"Content-Length", "0"}}, .body = {}};
    if (!date.empty()) response.headers.push_back({"Date", date});
    const auto signed_at = std::ranges::find(request.headers, "x-amz-date", &HttpHeader::name);
    if (signed_at->value == iso8601_basic(clock_.wall + offset)) return response;
    response.status = 403;
    if (request.method == "HEAD") return response;
    const ByteView body = as_bytes("<Error><Code>RequestTimeTooSkewed</Code><Message>too far</Message></Error>");
    response.body = {body.begin(), body.end()};
    return response;
  }

 private:
  FakeClock& clock_;
};

class S3ClockTest : public testing::Test {
 protected:
  S3ClockTest() { clock_.wall = *parse_http_date("Sun, 22 Nov 2026 03:00:00 GMT"); }
  void store_is_an_hour_ahead() {
    http_.offset = std::chrono::hours(1);
    http_.date = "Sun, 22 Nov 2026 04:00:00 GMT";
  }
  FakeClock clock_;
  SeededRandom random_;
  PunctualStore http_{clock_};
  CredentialsChain credentials_{one_key(), clock_};
  S3Store store_{
      no_store(),
      {.http = http_, .credentials = credentials_, .clock = clock_, .random = random_, .retry = {}, .log = {}}};
};

TEST_F(S3ClockTest, RequestsAreSignedWithTheStoresTime) {
  store_is_an_hour_ahead();
  const WallTime ours = clock_.wall;
  EXPECT_TRUE(store_.get("k", {}, {}));
  EXPECT_EQ(http_.requests, 2);
  clock_.wall = ours; // what the pause has taken
  EXPECT_TRUE(store_.get("k", {}, {}));
  EXPECT_EQ(http_.requests, 3) << "it is remembered";
}

TEST_F(S3ClockTest, AHeadThatIsRefusedDoesNotSayWhy) {
  store_is_an_hour_ahead();
  EXPECT_TRUE(store_.head("k", {}));
  EXPECT_EQ(http_.requests, 2);
}

TEST_F(S3ClockTest, ItIsTriedOnceAndTheErrorSaysWhy) {
  http_.offset = std::chrono::hours(1);
  for (const char* date : {"", "yesterday", "Sun, 22 Nov 2026 05:00:00 GMT"}) {
    http_.date = date;
    http_.requests = 0;
    try {
      store_.get("k", {}, {});
      FAIL() << date;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::access_denied) << date;
      EXPECT_NE(std::string(error.what()).find("RequestTimeTooSkewed"), std::string::npos) << error.what();
      EXPECT_NE(error.hint().find("clocks"), std::string::npos) << error.hint();
    }
    EXPECT_LE(http_.requests, 2) << date;
  }
}

} // namespace
} // namespace dbops::core
