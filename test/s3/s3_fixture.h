// A store over a real S3 server, as the environment of test/s3/run.sh describes it.
#pragma once

#include "core/crypto/random.h"
#include "core/http/curl_client.h"
#include "core/store/s3_store.h"

#include <cstdlib>
#include <memory>
#include <string>

namespace dbops::core {

inline std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class FixedCredentials final : public CredentialsSource {
 public:
  explicit FixedCredentials(Credentials credentials) : credentials_(std::move(credentials)) {}
  std::optional<ExpiringCredentials> fetch(const CallContext& /*context*/) override {
    return ExpiringCredentials{credentials_, std::nullopt};
  }
  [[nodiscard]] std::string name() const override { return "test"; }

 private:
  Credentials credentials_;
};

// The time of another machine.
class ShiftedClock final : public Clock {
 public:
  explicit ShiftedClock(std::chrono::minutes shift = {}) : shift_(shift) {}
  [[nodiscard]] WallTime wall_now() const override { return system_.wall_now() + shift_; }
  [[nodiscard]] SteadyTime steady_now() const override { return system_.steady_now(); }
  void sleep_for(std::chrono::steady_clock::duration time, const std::stop_token& stop) override {
    system_.sleep_for(time, stop);
  }

 private:
  std::chrono::minutes shift_;
  SystemClock system_;
};

inline S3Url test_url(const std::string& endpoint) {
  S3Url url;
  url.bucket = "dbops-test";
  url.prefix = "t/" + std::to_string(std::chrono::system_clock::now().time_since_epoch().count());
  url.endpoint = endpoint;
  url.region = "us-east-1";
  url.part_size = url.multipart_threshold = 5 << 20;
  url.ca_file = variable("S3_CA_FILE");
  return url;
}

inline RetryPolicy quick_retries() {
  return {.max_attempts = 5,
          .first_delay = milliseconds(20),
          .max_delay = milliseconds(100),
          .max_retry_after = milliseconds(1000)};
}

inline HttpOptions quick_options(const S3Url& url) {
  HttpOptions options;
  options.ca_file = url.ca_file;
  options.verify_tls = url.verify_tls;
  options.connect_timeout = milliseconds(2000);
  options.low_speed_time = std::chrono::seconds(2);
  return options;
}

struct S3Under {
  ShiftedClock clock;
  SystemRandom random;
  CurlClient http;
  CredentialsChain credentials;
  S3Store store;

  explicit S3Under(const S3Url& url,
                   Credentials identity = {variable("S3_ACCESS_KEY"), Secret(variable("S3_SECRET_KEY")), {}},
                   std::chrono::minutes shift = {})
      : clock(shift), http(quick_options(url), clock), credentials(sources(std::move(identity)), clock),
        store(url, {http, credentials, clock, random, quick_retries(), {}}) {}

 private:
  static std::vector<std::unique_ptr<CredentialsSource>> sources(Credentials identity) {
    std::vector<std::unique_ptr<CredentialsSource>> list;
    list.push_back(std::make_unique<FixedCredentials>(std::move(identity)));
    return list;
  }
};

} // namespace dbops::core
