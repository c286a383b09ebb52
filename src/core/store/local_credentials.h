// Credentials that are on this machine: a file, the environment.
#pragma once

#include "core/store/credentials.h"

namespace dbops::core {

class FileCredentials final : public CredentialsSource {
 public:
  FileCredentials(std::filesystem::path path, std::string profile, const Clock& clock)
      : path_(std::move(path)), profile_(std::move(profile)), clock_(clock) {}
  std::optional<ExpiringCredentials> fetch(const CallContext& context) override;
  [[nodiscard]] std::string name() const override { return "file \"" + path_.string() + "\""; }

 private:
  std::filesystem::path path_;
  std::string profile_;
  const Clock& clock_;
};

class EnvironmentCredentials final : public CredentialsSource {
 public:
  explicit EnvironmentCredentials(Environment environment) : environment_(std::move(environment)) {}
  std::optional<ExpiringCredentials> fetch(const CallContext& context) override;
  [[nodiscard]] std::string name() const override { return "environment"; }

 private:
  Environment environment_;
};

} // namespace dbops::core
