// Faults between the client and a real S3 server, made by fault_proxy.py: each call must come to the right end in
// bounded time, whatever the network does, and say so when it cannot. A stall lasts longer than any test may: who does
// not give up the request does not end.
#include "core/base/error.h"
#include "core/wal/object_format.h"
#include "s3_fixture.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <thread>

namespace dbops::core {
namespace {

class Faults : public testing::Test {
 protected:
  void SetUp() override {
    if (variable("S3_PROXY_ENDPOINT").empty()) GTEST_SKIP() << "no S3 server";
    S3Url url = test_url(variable("S3_PROXY_ENDPOINT"));
    direct_ = std::make_unique<S3Under>([&] {
      S3Url straight = url;
      straight.endpoint = variable("S3_ENDPOINT");
      return straight;
    }());
    s3_ = std::make_unique<S3Under>(url);
    set_rules("[]");
    s3_->store.conditional_put({});
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
  int acted() {
    HttpRequest request;
    request.url = variable("S3_PROXY_CONTROL") + "/stats";
    const auto stats = nlohmann::json::parse(as_text(s3_->http.perform(request, {}).body));
    return stats["acted"]["0"];
  }
  static Bytes random_bytes(std::size_t size) {
    Bytes bytes(size);
    SystemRandom().fill(bytes);
    return bytes;
  }
  static std::string rule(const std::string& method, const std::string& action, int count) {
    return R"([{"method": ")" + method + R"(", "count": )" + std::to_string(count) + ", " + action + "}]";
  }
  template <class Operation>
  ErrorKind kind_of_error(const Operation& operation) {
    try {
      operation();
    } catch (const Error& error) {
      last_message_ = error.what();
      return error.kind();
    }
    ADD_FAILURE() << "it did not fail";
    return ErrorKind::io;
  }

  std::unique_ptr<S3Under> direct_, s3_;
  std::string last_message_;
};

struct Fault {
  const char* name;
  const char* action;
};

// Each makes a put fail in its own way.
constexpr Fault put_faults[] = {
    {"503", R"("action": "status", "code": 503)"},
    {"503 with Retry-After", R"("action": "status", "code": 503, "retry_after": 1)"},
    {"429", R"("action": "status", "code": 429, "s3code": "TooManyRequests")"},
    {"500", R"("action": "status", "code": 500, "s3code": "InternalError")"},
    {"400 RequestTimeout", R"("action": "status", "code": 400, "s3code": "RequestTimeout")"},
    {"reset", R"("action": "reset")"},
    {"reset while sending", R"("action": "reset_upload", "bytes": 100000)"},
    {"half-open while sending", R"("action": "stall_upload", "bytes": 100000, "seconds": 900)"},
    {"lost answer, reset", R"("action": "lost_response")"},
    {"lost answer, close", R"("action": "lost_fin")"},
    {"stalled answer", R"("action": "stall_response", "seconds": 900)"},
    {"damaged on its way", R"("action": "corrupt_upload", "bytes": 1000)"},
};

TEST_F(Faults, PutSucceedsWhenTheFaultPasses) {
  const Bytes body = random_bytes(1 << 20);
  for (const Fault& fault : put_faults) {
    const std::string key = "put/" + std::to_string(&fault - put_faults);
    set_rules(rule("PUT", fault.action, 2));
    // After a lost answer the retry finds the object there: by whom, the layer above finds out.
    EXPECT_NO_THROW(s3_->store.put_if_absent(key, body, {})) << fault.name;
    EXPECT_GE(acted(), 1) << fault.name;
    EXPECT_EQ(direct_->store.get(key, {}, {}), std::optional(body)) << fault.name;
  }
}

TEST_F(Faults, LostAnswerIsReportedAsExisting) {
  set_rules(rule("PUT", R"("action": "lost_response")", 1));
  EXPECT_EQ(s3_->store.put_if_absent("lost", random_bytes(1000), {}), PutResult::exists);
}

TEST_F(Faults, PutGivesUpWhenTheFaultStays) {
  const Bytes body = random_bytes(1 << 20);
  for (const char* action :
       {R"("action": "status", "code": 503)", R"("action": "reset")", R"("action": "corrupt_upload", "bytes": 1000)"}) {
    set_rules(rule("PUT", action, 1000));
    EXPECT_EQ(kind_of_error([&] { s3_->store.put_if_absent("never", body, {}); }), ErrorKind::unavailable) << action;
    // libcurl repeats a request by itself when a kept connection turns out to be closed.
    EXPECT_GE(acted(), 5) << action;
    EXPECT_LE(acted(), 6) << action;
  }
  set_rules("[]");
  EXPECT_FALSE(direct_->store.head("never", {}));
}

TEST_F(Faults, RefusalsAreNotTriedAgain) {
  struct Refusal {
    const char* action;
    ErrorKind kind;
  };
  for (const Refusal& refusal :
       {Refusal{R"("action": "status", "code": 403, "s3code": "AccessDenied")", ErrorKind::access_denied},
        Refusal{R"("action": "status", "code": 301, "s3code": "PermanentRedirect")", ErrorKind::configuration},
        Refusal{R"("action": "status", "code": 400, "s3code": "AuthorizationHeaderMalformed")",
                ErrorKind::configuration},
        Refusal{R"("action": "status", "code": 404, "s3code": "NoSuchBucket")", ErrorKind::configuration},
        Refusal{R"("action": "status", "code": 507, "s3code": "InsufficientStorage")", ErrorKind::no_space}}) {
    set_rules(rule("PUT|GET", refusal.action, 1000));
    EXPECT_EQ(kind_of_error([&] { s3_->store.put_if_absent("never", as_bytes("x"), {}); }), refusal.kind);
    EXPECT_EQ(kind_of_error([&] { s3_->store.get("never", {}, {}); }), refusal.kind);
    EXPECT_EQ(acted(), 2) << refusal.action;
    EXPECT_NE(last_message_.find("injected"), std::string::npos)
        << "without the store's own message: " << last_message_;
  }
}

constexpr Fault get_faults[] = {
    {"503", R"("action": "status", "code": 503)"},
    {"reset", R"("action": "reset")"},
    {"reset while receiving", R"("action": "reset_download", "bytes": 100000)"},
    {"cut short", R"("action": "truncate_download", "bytes": 100000)"},
    {"stalled answer", R"("action": "stall_response", "seconds": 900)"},
    {"stalled while receiving", R"("action": "stall_download", "bytes": 100000, "seconds": 900)"},
    {"a proxy's 404", R"("action": "html404")"},
};

TEST_F(Faults, GetSucceedsWhenTheFaultPasses) {
  const Bytes body = random_bytes(1 << 20);
  direct_->store.put_if_absent("get", body, {});
  for (const Fault& fault : get_faults) {
    // libcurl measures speed over five seconds: a transfer that stops midway is given up after seven.
    const int count = std::string_view(fault.action).find("stall_download") == std::string_view::npos ? 2 : 1;
    set_rules(rule("GET", fault.action, count));
    EXPECT_EQ(s3_->store.get("get", {}, {}), std::optional(body)) << fault.name;
    EXPECT_EQ(acted(), count) << fault.name;
  }
}

TEST_F(Faults, AMissingObjectIsAnsweredOnlyByTheStore) {
  set_rules(rule("GET", R"("action": "html404")", 1000));
  EXPECT_EQ(kind_of_error([&] { s3_->store.get("none", {}, {}); }), ErrorKind::unavailable);
  set_rules("[]");
  EXPECT_FALSE(s3_->store.get("none", {}, {}));
}

TEST_F(Faults, DamageOnTheWayBackIsSeenByTheObjectsDigest) {
  SystemClock clock;
  SystemRandom random;
  const Bytes plain = random_bytes(200000);
  ObjectEncoder encoder({}, random);
  const Bytes object = encode_object(encoder, {ObjectKind::wal_segment, 1, "n", "o"}, plain, clock.wall_now());
  direct_->store.put_if_absent("object", object, {});
  set_rules(rule("GET", R"("action": "corrupt_download", "bytes": 100000)", 1));
  const auto decode = [&] {
    decode_object(s3_->store.get("object", {}, {}).value(), nullptr, 1 << 20, [](ByteView) {});
  };
  EXPECT_EQ(kind_of_error(decode), ErrorKind::corrupt);
  EXPECT_NO_THROW(decode());
}

TEST_F(Faults, ListSucceedsWhenTheFaultPasses) {
  direct_->store.put_if_absent("list/1", as_bytes("x"), {});
  for (const char* action : {R"("action": "status", "code": 503)", R"("action": "truncate_download", "bytes": 100)",
                             R"("action": "reset_download", "bytes": 100)"}) {
    set_rules(rule("GET", action, 2));
    EXPECT_EQ(s3_->store.list({.prefix = "list/"}, {}).objects.size(), 1U) << action;
  }
}

// The steps of a multipart upload: its start, a part, its end.
TEST_F(Faults, MultipartSucceedsWhenTheFaultPasses) {
  const Bytes body = random_bytes(11 << 20);
  const std::pair<const char*, const char*> faults[] = {
      {"POST", R"("path": "uploads", "action": "status", "code": 503)"},
      {"POST", R"("path": "uploads", "action": "lost_response")"},
      {"PUT", R"("path": "partNumber=2", "action": "reset_upload", "bytes": 1000000)"},
      {"PUT", R"("path": "partNumber=3", "action": "lost_response")"},
      {"PUT", R"("path": "partNumber=1", "action": "corrupt_upload", "bytes": 1000)"},
      {"POST", R"("path": "uploadId", "action": "error200")"},
      {"POST", R"("path": "uploadId", "action": "lost_response")"},
      {"POST", R"("path": "uploadId", "action": "stall_response", "seconds": 900)"},
  };
  for (const auto& [method, action] : faults) {
    const std::string key = "parts/" + std::to_string(std::hash<std::string>()(action));
    set_rules(rule(method, action, 1));
    EXPECT_NO_THROW(s3_->store.put_if_absent(key, body, {})) << action;
    EXPECT_EQ(acted(), 1) << action;
    EXPECT_EQ(direct_->store.get(key, {}, {}), std::optional(body)) << action;
  }
}

TEST_F(Faults, AFailedMultipartUploadIsAborted) {
  set_rules(R"([{"method": "PUT", "path": "partNumber=2", "action": "status", "code": 403, "s3code": "AccessDenied"},
                {"method": "DELETE", "path": "uploadId", "action": "throttle", "rate": 1e9}])");
  EXPECT_EQ(kind_of_error([&] { s3_->store.put_if_absent("aborted", random_bytes(11 << 20), {}); }),
            ErrorKind::access_denied);
  HttpRequest request;
  request.url = variable("S3_PROXY_CONTROL") + "/stats";
  const auto stats = nlohmann::json::parse(as_text(s3_->http.perform(request, {}).body));
  EXPECT_EQ(stats["acted"]["1"], 1) << "no abort was sent";
  EXPECT_FALSE(direct_->store.head("aborted", {}));
}

TEST_F(Faults, AStopEndsAStalledTransfer) {
  set_rules(rule("PUT", R"("action": "stall_response", "seconds": 900)", 1000));
  std::stop_source stop;
  std::jthread stopper([&] {
    while (acted() == 0)
      std::this_thread::sleep_for(milliseconds(20));
    stop.request_stop();
  });
  const auto put = [&] { s3_->store.put_if_absent("stopped", as_bytes("x"), {.stop = stop.get_token()}); };
  EXPECT_EQ(kind_of_error(put), ErrorKind::cancelled) << "of a request, not after the last of them";
}

TEST_F(Faults, ADeadlineHoldsWhateverIsRetried) {
  for (const char* action : {R"("action": "stall_response", "seconds": 900)", R"("action": "status", "code": 503)"}) {
    set_rules(rule("PUT", action, 1000));
    const CallContext context{.deadline = std::chrono::steady_clock::now() + milliseconds(1500)};
    EXPECT_EQ(kind_of_error([&] { s3_->store.put_if_absent("late", as_bytes("x"), context); }), ErrorKind::unavailable);
    // A stalled request is given up after 2 s, and tried five times: here the first one was the last.
    if (std::string_view(action).find("stall") != std::string_view::npos) {
      EXPECT_LE(acted(), 1);
    }
  }
}

TEST_F(Faults, ASlowStoreIsNotAFault) {
  set_rules(rule("PUT|GET", R"("action": "throttle", "rate": 500000)", 1000));
  const Bytes body = random_bytes(1 << 20);
  EXPECT_EQ(s3_->store.put_if_absent("slow", body, {}), PutResult::created);
  EXPECT_EQ(s3_->store.get("slow", {}, {}), std::optional(body));
  EXPECT_EQ(s3_->store.counters().retries, 0U);
}

} // namespace
} // namespace dbops::core
