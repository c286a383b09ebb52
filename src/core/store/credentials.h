// Credentials for S3: where they come from, and that they are renewed before they expire.
#pragma once

#include "core/base/clock.h"
#include "core/http/http.h"
#include "core/store/sigv4.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

struct ExpiringCredentials {
  Credentials credentials;
  std::optional<WallTime> expires; // absent: never
};

// One place where credentials may be found.
class CredentialsSource {
 public:
  virtual ~CredentialsSource() = default;
  // Absent: this place is not set up here; the next is asked.
  // Throws Error when it is set up and does not work: another identity must not silently be taken instead.
  virtual std::optional<ExpiringCredentials> fetch(const CallContext& context) = 0;
  [[nodiscard]] virtual std::string name() const = 0;
};

// The first source that has credentials serves until the end. Used by any number of threads.
class CredentialsChain {
 public:
  // clock must outlive the chain.
  CredentialsChain(std::vector<std::unique_ptr<CredentialsSource>> sources, const Clock& clock);

  // Renewed five minutes before they expire; when that fails, the old ones serve until they do expire.
  // Throws Error(access_denied) naming the places that were looked at when none has any, and what the sources throw.
  Credentials get(const CallContext& context);

  // The store says that they have expired. False: there is no use in another try, they would be the same.
  bool invalidate();

 private:
  void renew(const CallContext& context);
  [[nodiscard]] bool usable_for(std::chrono::seconds time) const;

  std::vector<std::unique_ptr<CredentialsSource>> sources_;
  const Clock& clock_;
  std::mutex mutex_;
  CredentialsSource* chosen_ = nullptr;
  std::optional<ExpiringCredentials> cached_;
  WallTime next_try_; // after a failed renewal
};

using Environment = std::function<std::optional<std::string>(const std::string& name)>;

struct CredentialsSetup {
  std::filesystem::path file; // in the format of AWS's credentials file; empty: none
  Environment environment;
  std::string region;                // for the endpoint of STS
  HttpTransport* internet = nullptr; // for STS
  HttpTransport* metadata = nullptr; // for container and instance metadata: without a proxy, short time-outs
  const Clock* clock = nullptr;
  // Instance metadata is known to be here: when it does not answer, it is waited for.
  bool on_instance = false;
};

// In the order: the file, the environment, web identity, container, instance metadata (version 2 only).
// What the setup points to must outlive the sources.
std::vector<std::unique_ptr<CredentialsSource>> default_credentials_sources(const CredentialsSetup& setup);

// A profile of an AWS credentials file. Absent: it has no such profile. Throws Error(configuration) naming the line,
// without quoting it.
std::optional<Credentials> parse_aws_profile(std::string_view text, std::string_view profile);

} // namespace dbops::core
