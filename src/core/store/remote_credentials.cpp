#include "core/store/remote_credentials.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/store/local_credentials.h"
#include "core/store/xml.h"

#include <array>
#include <nlohmann/json.hpp>

namespace dbops::core {

namespace {

constexpr std::uint64_t max_token_size = 64 << 10;
constexpr milliseconds metadata_timeout(5000), sts_timeout(20000);
constexpr const char* metadata_token_seconds = "21600";
constexpr int token_attempts = 3; // of instance metadata; elsewhere each may cost its whole time

std::string trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const auto first = text.find_first_not_of(blank);
  return first == std::string_view::npos ? std::string()
                                         : std::string(text.substr(first, text.find_last_not_of(blank) - first + 1));
}

std::string read_token(const std::string& path) {
  return trimmed(as_text(read_file(path, max_token_size)));
}

// By status alone: an answer of these services may hold secrets.
[[noreturn]] void refused(const std::string& who, int status) {
  const std::string message = who + " answers with status " + std::to_string(status);
  if (status >= 500 || status == 429) throw TransientError(message);
  throw Error(ErrorKind::access_denied, message);
}

WallTime required_time(const std::string& who, const std::string& text) {
  if (const auto time = parse_iso8601(text)) return *time;
  throw Error(ErrorKind::corrupt, who + " gives credentials without a readable time of expiry");
}

// The document that container and instance metadata have in common.
ExpiringCredentials parse_document(const std::string& who, ByteView body) {
  const auto json = nlohmann::json::parse(as_text(body), nullptr, false);
  const auto text = [&](const char* name) -> std::string {
    return json.is_object() && json.contains(name) && json[name].is_string() ? json[name].get<std::string>() : "";
  };
  if (text("AccessKeyId").empty() || text("SecretAccessKey").empty())
    throw Error(ErrorKind::access_denied, who + " gives no credentials");
  return {{text("AccessKeyId"), Secret(text("SecretAccessKey")), Secret(text("Token"))},
          required_time(who, text("Expiration"))};
}

// A token is sent in the clear only to an address that cannot leave the machine or its network's edge.
bool may_use_plain_http(std::string_view url) {
  constexpr std::array<std::string_view, 6> hosts{"http://127.0.0.1",      "http://localhost",
                                                  "http://169.254.170.2",  "http://169.254.170.23",
                                                  "http://[fd00:ec2::23]", "http://[::1]"};
  for (const std::string_view host : hosts)
    if (url.starts_with(host) && (url.size() == host.size() || url[host.size()] == ':' || url[host.size()] == '/'))
      return true;
  return false;
}

} // namespace

std::optional<ExpiringCredentials> WebIdentityCredentials::fetch(const CallContext& context) {
  const auto token_file = environment_("AWS_WEB_IDENTITY_TOKEN_FILE"), role = environment_("AWS_ROLE_ARN");
  if (!token_file || !role) return {};
  const Secret body(encode_query({{"Action", "AssumeRoleWithWebIdentity"},
                                  {"Version", "2011-06-15"},
                                  {"RoleArn", *role},
                                  {"RoleSessionName", environment_("AWS_ROLE_SESSION_NAME").value_or("dbops")},
                                  {"WebIdentityToken", read_token(*token_file)}}));
  HttpRequest request;
  request.method = "POST";
  request.url = environment_("AWS_ENDPOINT_URL_STS").value_or("https://sts." + region_ + ".amazonaws.com") + "/";
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
  request.body = as_bytes(body.reveal());
  request.timeout = sts_timeout;
  const HttpResponse response = http_.perform(request, context);
  if (response.status != 200) refused("STS for role " + *role, response.status);
  const XmlElement root = parse_xml(as_text(response.body));
  const XmlElement* const result = root.child("AssumeRoleWithWebIdentityResult");
  const XmlElement* const credentials = result == nullptr ? nullptr : result->child("Credentials");
  if (credentials == nullptr || credentials->child_text("SecretAccessKey").empty())
    throw Error(ErrorKind::access_denied, "STS gives no credentials for role " + *role);
  return ExpiringCredentials{{credentials->child_text("AccessKeyId"),
                              Secret(credentials->child_text("SecretAccessKey")),
                              Secret(credentials->child_text("SessionToken"))},
                             required_time("STS", credentials->child_text("Expiration"))};
}

std::optional<ExpiringCredentials> ContainerCredentials::fetch(const CallContext& context) {
  HttpRequest request;
  if (const auto relative = environment_("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"))
    request.url = "http://169.254.170.2" + *relative;
  else if (const auto full = environment_("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
    request.url = *full;
  else
    return {};
  if (!request.url.starts_with("https://") && !may_use_plain_http(request.url))
    throw Error(ErrorKind::configuration,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor an address of this machine");
  if (const auto file = environment_("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
    request.headers.push_back({"Authorization", read_token(*file)});
  else if (const auto token = environment_("AWS_CONTAINER_AUTHORIZATION_TOKEN"))
    request.headers.push_back({"Authorization", *token});
  request.timeout = metadata_timeout;
  const HttpResponse response = http_.perform(request, context);
  if (response.status != 200) refused(name(), response.status);
  return parse_document(name(), response.body);
}

bool is_ec2_instance() {
  try {
    return trimmed(as_text(read_file("/sys/class/dmi/id/sys_vendor", 4096))) == "Amazon EC2";
  } catch (const Error&) { // no such machine
    return false;
  }
}

// Absent: nobody answers, and nobody is expected to.
std::optional<HttpResponse> InstanceCredentials::session_token(const HttpRequest& request, bool expected,
                                                               const CallContext& context) {
  for (int attempt = 1;; ++attempt) {
    try {
      return http_.perform(request, context);
    } catch (const TransientError& failure) { // it may have stumbled, or this is no such instance
      if (attempt < token_attempts) continue;
      if (expected) throw TransientError(name() + " does not answer: " + failure.what());
      return {};
    }
  }
}

std::optional<ExpiringCredentials> InstanceCredentials::fetch(const CallContext& context) {
  if (environment_("AWS_EC2_METADATA_DISABLED").value_or("") == "true") return {};
  const auto endpoint = environment_("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  const std::string base = endpoint.value_or("http://169.254.169.254");
  HttpRequest request;
  request.method = "PUT";
  request.url = base + "/latest/api/token";
  request.headers = {{"X-aws-ec2-metadata-token-ttl-seconds", metadata_token_seconds}};
  request.timeout = metadata_timeout;
  const auto token = session_token(request, expected_ || endpoint, context);
  if (!token) return {};
  if (token->status >= 500 || token->status == 429) refused(name(), token->status);
  if (token->status != 200) return {}; // not on such an instance
  request.method = "GET";
  request.headers = {{"X-aws-ec2-metadata-token", trimmed(as_text(token->body))}};
  request.url = base + "/latest/meta-data/iam/security-credentials/";
  HttpResponse response = http_.perform(request, context);
  if (response.status == 404) // the instance has no role
    return {};
  if (response.status != 200) refused(name(), response.status);
  const std::string roles = trimmed(as_text(response.body));
  request.url += uri_encode(roles.substr(0, roles.find('\n')), false);
  response = http_.perform(request, context);
  if (response.status != 200) refused(name(), response.status);
  return parse_document(name(), response.body);
}

std::vector<std::unique_ptr<CredentialsSource>> default_credentials_sources(const CredentialsSetup& setup) {
  std::vector<std::unique_ptr<CredentialsSource>> sources;
  const std::string profile = setup.environment("AWS_PROFILE").value_or("default");
  if (!setup.file.empty()) sources.push_back(std::make_unique<FileCredentials>(setup.file, profile, *setup.clock));
  sources.push_back(std::make_unique<EnvironmentCredentials>(setup.environment));
  if (const auto shared = setup.environment("AWS_SHARED_CREDENTIALS_FILE"))
    sources.push_back(std::make_unique<FileCredentials>(*shared, profile, *setup.clock));
  sources.push_back(std::make_unique<WebIdentityCredentials>(setup.environment, setup.region, *setup.internet));
  sources.push_back(std::make_unique<ContainerCredentials>(setup.environment, *setup.metadata));
  sources.push_back(std::make_unique<InstanceCredentials>(setup.environment, *setup.metadata, setup.on_instance));
  return sources;
}

} // namespace dbops::core
