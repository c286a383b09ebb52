// What is peculiar to S3, on a real server: identity, addressing, TLS, missing buckets, conditional puts.
#include "core/base/error.h"
#include "core/store/open_store.h"
#include "s3_fixture.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dbops::core {
namespace {

class S3 : public testing::Test {
 protected:
  void SetUp() override {
    if (variable("S3_ENDPOINT").empty()) GTEST_SKIP() << "no S3 server";
  }

  // The error of an operation, which must fail.
  template <class Operation>
  static Error error_of(const Operation& operation) {
    try {
      operation();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "it did not fail";
    return {ErrorKind::io, ""};
  }
  static void expect_all_fail(S3Store& store, ErrorKind kind, const std::string& part) {
    const CallContext context;
    for (const Error& error :
         {error_of([&] { store.put_if_absent("k", as_bytes("x"), context); }),
          error_of([&] { store.get("k", {}, context); }), error_of([&] { store.head("k", context); }),
          error_of([&] { store.list({}, context); })}) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_NE(std::string(error.what()).find("s3://"), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).find(variable("S3_SECRET_KEY")), std::string::npos);
    }
    const Error error = error_of([&] { store.get("k", {}, context); });
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
};

TEST_F(S3, WrongSecretIsNotTriedAgain) {
  S3Under s3(test_url(variable("S3_ENDPOINT")), {variable("S3_ACCESS_KEY"), Secret("wrong"), {}});
  expect_all_fail(s3.store, ErrorKind::access_denied, "SignatureDoesNotMatch");
  EXPECT_EQ(s3.store.counters().retries, 0U);
}

TEST_F(S3, UnknownKey) {
  S3Under s3(test_url(variable("S3_ENDPOINT")), {"nobody", Secret("wrong"), {}});
  expect_all_fail(s3.store, ErrorKind::access_denied, "InvalidAccessKeyId");
}

TEST_F(S3, AWrongClockIsMadeUpFor) {
  const S3Url url = test_url(variable("S3_ENDPOINT"));
  for (const int minutes : {120, -120}) {
    const auto client = [&] {
      return std::make_unique<S3Under>(url,
                                       Credentials{variable("S3_ACCESS_KEY"), Secret(variable("S3_SECRET_KEY")), {}},
                                       std::chrono::minutes(minutes));
    };
    const std::string key = "clock" + std::to_string(minutes);
    client()->store.put_if_absent(key, as_bytes("punctual"), {});
    EXPECT_TRUE(client()->store.head(key, {}));
    EXPECT_EQ(client()->store.list({.prefix = key}, {}).objects.size(), 1U);
    const auto same = client();
    EXPECT_EQ(as_text(same->store.get(key, {}, {}).value()), "punctual");
    EXPECT_EQ(same->store.counters().retries, 1U);
    EXPECT_TRUE(same->store.get(key, {}, {}));
    EXPECT_EQ(same->store.counters().retries, 1U) << "it is remembered";
  }
}

TEST_F(S3, AMissingBucketIsNotAMissingObject) {
  S3Url url = test_url(variable("S3_ENDPOINT"));
  url.bucket = "dbops-no-such-bucket";
  S3Under s3(url);
  expect_all_fail(s3.store, ErrorKind::configuration, "NoSuchBucket");
}

TEST_F(S3, VirtualHostStyle) {
  // The server's name is localhost; it answers for every bucket below it.
  std::string endpoint = variable("S3_ENDPOINT");
  endpoint.replace(endpoint.find("127.0.0.1"), 9, "localhost");
  S3Url url = test_url(endpoint);
  url.style = S3Url::Style::virtual_host;
  S3Under s3(url);
  s3.store.put_if_absent("a/b", as_bytes("x"), {});
  EXPECT_EQ(s3.store.list({}, {}).objects.size(), 1U);
  EXPECT_EQ(as_text(s3.store.get("a/b", {}, {}).value()), "x");
}

TEST_F(S3, CertificateOfAnUnknownAuthorityIsRefused) {
  S3Url url = test_url(variable("S3_TLS_ENDPOINT"));
  url.ca_file = variable("S3_OTHER_CA_FILE");
  S3Under s3(url);
  EXPECT_EQ(error_of([&] { s3.store.get("k", {}, {}); }).kind(), ErrorKind::configuration);
  EXPECT_EQ(s3.store.counters().retries, 0U);
  url.ca_file.clear();
  EXPECT_EQ(error_of([&] { S3Under(url).store.get("k", {}, {}); }).kind(), ErrorKind::configuration);
  url.verify_tls = false;
  EXPECT_FALSE(S3Under(url).store.get("k", {}, {}));
  url.ca_file = "/no/such/file";
  EXPECT_EQ(error_of([&] { S3Under unused(url); }).kind(), ErrorKind::configuration);
}

TEST_F(S3, NobodyListens) {
  S3Under s3(test_url("http://127.0.0.1:1"));
  EXPECT_EQ(error_of([&] { s3.store.get("k", {}, {}); }).kind(), ErrorKind::unavailable);
  EXPECT_EQ(s3.store.counters().retries, 4U);
}

TEST_F(S3, ConditionalPutIsProbed) {
  S3Url url = test_url(variable("S3_ENDPOINT"));
  EXPECT_EQ(S3Under(url).store.conditional_put({}), ConditionalPut::honoured);
  url.bucket = "dbops-versioned"; // Ceph 16 and 18 ignore the header there
  EXPECT_EQ(S3Under(url).store.conditional_put({}), ConditionalPut::ignored);
  url.probe_conditional_put = false;
  url.bucket = "dbops-test";
  EXPECT_EQ(S3Under(url).store.conditional_put({}), ConditionalPut::ignored);
}

TEST_F(S3, OpenedByUrlWithAFileOfCredentials) {
  const std::string file = variable("S3_CREDENTIALS_FILE");
  SystemClock clock;
  SystemRandom random;
  const StoreUrl url = parse_store_url("s3://dbops-test/by-url?endpoint=" + variable("S3_TLS_ENDPOINT") +
                                       "&ca-file=" + variable("S3_CA_FILE"));
  const auto store = open_store(url, {.clock = clock,
                                      .random = random,
                                      .environment = [](const std::string&) { return std::optional<std::string>(); },
                                      .credentials_file = file,
                                      .retry = {},
                                      .log = {}});
  store->put_if_absent("k", as_bytes("v"), {});
  EXPECT_EQ(as_text(store->get("k", {}, {}).value()), "v");
}

TEST_F(S3, ConnectionsAreReused) {
  S3Under s3(test_url(variable("S3_PROXY_ENDPOINT")));
  s3.store.put_if_absent("k", as_bytes("v"), {});
  const auto connections = [&] {
    HttpRequest request;
    request.url = variable("S3_PROXY_CONTROL") + "/stats";
    return nlohmann::json::parse(as_text(s3.http.perform(request, {}).body))["connections"].get<int>();
  };
  const int before = connections();
  for (int i = 0; i < 100; ++i)
    s3.store.get("k", {}, {});
  EXPECT_LE(connections() - before, 10) << "one, and one more each time that the machine stops for long";
}

} // namespace
} // namespace dbops::core
