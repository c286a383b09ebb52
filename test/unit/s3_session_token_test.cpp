// Temporary credentials: the token of the session goes along with every request, and is signed.
#include "core/store/s3_store.h"

#include "fake_time_and_random.h"
#include "one_key.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace dbops::core {
namespace {

class Witness final : public HttpTransport {
 public:
  std::vector<HttpRequest> requests;
  HttpResponse perform(const HttpRequest& request, const CallContext& /*context*/) override {
    requests.push_back(request);
    return {.status = 200, .headers = {{"Content-Length", "0"}}, .body = {}};
  }
};

std::string header(const HttpRequest& request, std::string_view name) {
  const auto found = std::ranges::find(request.headers, name, &HttpHeader::name);
  return found == request.headers.end() ? std::string() : found->value;
}

TEST(S3SessionToken, IsSentAndSigned) {
  for (const char* token : {"", "a-token"}) {
    FakeClock clock;
    SeededRandom random;
    Witness http;
    CredentialsChain credentials{one_key(token), clock};
    S3Store store{no_store(),
                  {.http = http, .credentials = credentials, .clock = clock, .random = random, .retry = {}, .log = {}}};
    EXPECT_TRUE(store.get("k", {}, {}));
    store.remove("k", {});
    ASSERT_GE(http.requests.size(), 2U);
    for (const HttpRequest& request : http.requests) {
      EXPECT_EQ(header(request, "x-amz-security-token"), token);
      EXPECT_EQ(header(request, "Authorization").find("x-amz-security-token") != std::string::npos, *token != '\0');
    }
  }
}

} // namespace
} // namespace dbops::core
