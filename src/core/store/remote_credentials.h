// Credentials that a service gives to this machine or process for a while.
#pragma once

#include "core/store/credentials.h"

namespace dbops::core {

// AssumeRoleWithWebIdentity of STS: AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME;
// AWS_ENDPOINT_URL_STS names another endpoint (Ceph has one, too).
class WebIdentityCredentials final : public CredentialsSource {
 public:
  WebIdentityCredentials(Environment environment, std::string region, HttpTransport& http)
      : environment_(std::move(environment)), region_(std::move(region)), http_(http) {}
  std::optional<ExpiringCredentials> fetch(const CallContext& context) override;
  [[nodiscard]] std::string name() const override { return "web identity"; }

 private:
  Environment environment_;
  std::string region_;
  HttpTransport& http_;
};

// AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, as ECS and EKS set them.
class ContainerCredentials final : public CredentialsSource {
 public:
  ContainerCredentials(Environment environment, HttpTransport& http)
      : environment_(std::move(environment)), http_(http) {}
  std::optional<ExpiringCredentials> fetch(const CallContext& context) override;
  [[nodiscard]] std::string name() const override { return "container metadata"; }

 private:
  Environment environment_;
  HttpTransport& http_;
};

// Whether this machine says of itself that it is an instance of EC2.
bool is_ec2_instance();

// The role of an EC2 instance, version 2 of the protocol only. AWS_EC2_METADATA_DISABLED=true turns it off. A service
// that does not answer is taken to be none unless `expected`, or AWS_EC2_METADATA_SERVICE_ENDPOINT names it.
class InstanceCredentials final : public CredentialsSource {
 public:
  InstanceCredentials(Environment environment, HttpTransport& http, bool expected)
      : environment_(std::move(environment)), http_(http), expected_(expected) {}
  std::optional<ExpiringCredentials> fetch(const CallContext& context) override;
  [[nodiscard]] std::string name() const override { return "instance metadata"; }

 private:
  std::optional<HttpResponse> session_token(const HttpRequest& request, bool expected, const CallContext& context);
  Environment environment_;
  HttpTransport& http_;
  bool expected_;
};

} // namespace dbops::core
