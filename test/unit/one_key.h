// Credentials for tests of S3 that nobody checks.
#pragma once

#include "core/store/credentials.h"

#include <memory>
#include <vector>

namespace dbops::core {

class OneKey final : public CredentialsSource {
 public:
  std::optional<ExpiringCredentials> fetch(const CallContext& /*context*/) override {
    return ExpiringCredentials{{"id", Secret("secret"), Secret("")}, {}};
  }
  [[nodiscard]] std::string name() const override { return "test"; }
};

inline std::vector<std::unique_ptr<CredentialsSource>> one_key() {
  std::vector<std::unique_ptr<CredentialsSource>> sources;
  sources.push_back(std::make_unique<OneKey>());
  return sources;
}

} // namespace dbops::core
