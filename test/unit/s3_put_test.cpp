// A store that does not honour If-None-Match, behind a proxy that loses requests.
#include "core/store/s3_store.h"

#include "core/base/error.h"
#include "fake_time_and_random.h"
#include "one_key.h"

#include <gtest/gtest.h>
#include <map>

namespace dbops::core {
namespace {

// Objects by URL. An answer without a body to say whose it is: `lost` requests of each kind get one.
class ForgetfulProxy final : public HttpTransport {
 public:
  std::map<std::string, Bytes> objects;
  std::map<std::string, int> lost; // by method

  HttpResponse perform(const HttpRequest& request, const CallContext& /*context*/) override {
    if (lost[request.method] > 0) {
      --lost[request.method];
      return {.status = 404, .headers = {}, .body = {}};
    }
    if (request.method == "PUT") {
      objects[request.url] = {request.body.begin(), request.body.end()};
      return {.status = 200, .headers = {}, .body = {}};
    }
    const auto found = objects.find(request.url);
    if (found == objects.end())
      return {.status = 404, .headers = {}, .body = body(request, "<Error><Code>NoSuchKey</Code></Error>")};
    return {.status = 200, .headers = {}, .body = request.method == "HEAD" ? Bytes() : found->second};
  }

 private:
  static Bytes body(const HttpRequest& request, std::string_view text) {
    if (request.method == "HEAD") return {};
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
  }
};

class S3PutTest : public testing::Test {
 protected:
  FakeClock clock_;
  SeededRandom random_;
  ForgetfulProxy http_;
  CredentialsChain credentials_{one_key(), clock_};
  S3Store store_{
      no_store(),
      {.http = http_, .credentials = credentials_, .clock = clock_, .random = random_, .retry = {}, .log = {}}};
};

TEST_F(S3PutTest, NothingIsPutOverOnAnothersWord) {
  EXPECT_EQ(store_.put_if_absent("k", as_bytes("ours"), {}), PutResult::created);
  http_.lost = {{"HEAD", 3}, {"GET", 3}};
  EXPECT_EQ(store_.put_if_absent("k", as_bytes("theirs"), {}), PutResult::exists);
  ASSERT_EQ(http_.objects.size(), 1U);
  EXPECT_EQ(as_text(http_.objects.begin()->second), "ours");
  http_.lost = {{"HEAD", 100}, {"GET", 100}};
  EXPECT_THROW(store_.put_if_absent("k", as_bytes("theirs"), {}), Error);
  EXPECT_EQ(as_text(http_.objects.begin()->second), "ours");
}

} // namespace
} // namespace dbops::core
