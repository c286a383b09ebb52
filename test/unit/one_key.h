// Credentials for tests of S3 that nobody checks.
#pragma once

#include "core/store/credentials.h"

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

} // namespace dbops::core
