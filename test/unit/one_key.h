// Credentials that nobody checks and the URL of no store, for tests that answer the requests themselves.
#pragma once

#include "core/store/credentials.h"
#include "core/store/s3_store.h"

#include <memory>
#include <string>
#include <vector>

namespace dbops::core {

class OneKey final : public CredentialsSource {
 public:
  explicit OneKey(std::string token) : token_(std::move(token)) {}
  std::optional<ExpiringCredentials> fetch(const CallContext& /*context*/) override {
    return ExpiringCredentials{{"id", Secret("secret"), Secret(token_)}, {}};
  }
  [[nodiscard]] std::string name() const override { return "test"; }

 private:
  std::string token_;
};

inline std::vector<std::unique_ptr<CredentialsSource>> one_key(const std::string& session_token = {}) {
  std::vector<std::unique_ptr<CredentialsSource>> sources;
  sources.push_back(std::make_unique<OneKey>(session_token));
  return sources;
}

inline S3Url no_store() {
  return {.bucket = "b",
          .prefix = "p",
          .endpoint = "http://127.0.0.1:1",
          .region = "r",
          .ca_file = {},
          .probe_conditional_put = false};
}

} // namespace dbops::core
