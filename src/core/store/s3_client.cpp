#include "core/store/s3_client.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::uint64_t error_document_size = 64 << 10;
// Time for an exchange: half a minute for the store, and its data at 64 KiB/s.
constexpr milliseconds base_timeout(30000);
constexpr std::uint64_t slowest_bytes_per_ms = 64;
// Stores refuse requests that are a quarter of an hour off. The answer to a HEAD does not say why it was refused.
constexpr std::chrono::seconds refused_offset(600), new_offset(60);

bool uses_virtual_host(const S3Url& url) {
  if (url.style != S3Url::Style::automatic) return url.style == S3Url::Style::virtual_host;
  // A wildcard certificate does not cover a bucket with a dot.
  return url.endpoint.empty() && url.bucket.find('.') == std::string::npos;
}

} // namespace

S3Address::S3Address(const S3Url& url)
    : origin_(url.endpoint.empty() ? "https://s3." + url.region + ".amazonaws.com" : url.endpoint) {
  const auto host_start = origin_.find("://") + 3;
  const std::string scheme = origin_.substr(0, host_start);
  host_ = origin_.substr(host_start);
  // libcurl leaves a scheme's own port out of the Host header, and the signature covers that header.
  for (const auto& [own_scheme, port] : {std::pair("https://", ":443"), std::pair("http://", ":80")})
    if (scheme == own_scheme && host_.ends_with(port)) host_.resize(host_.size() - std::string_view(port).size());
  if (uses_virtual_host(url))
    host_ = url.bucket + "." + host_;
  else
    base_path_ = "/" + uri_encode(url.bucket, false);
  origin_ = scheme + host_;
}

std::string S3Address::path(const std::string& key) const {
  if (key.empty()) return base_path_.empty() ? "/" : base_path_;
  return base_path_ + "/" + uri_encode(key, true);
}

std::string S3Address::url(const std::string& path, const std::string& query) const {
  return origin_ + path + (query.empty() ? "" : "?" + query);
}

S3Client::S3Client(S3Url url, S3ClientSetup setup)
    : url_(std::move(url)), address_(url_), setup_(std::move(setup)),
      retrier_(setup_.retry, setup_.clock, setup_.random, [this](const Error& error, int attempt, milliseconds pause) {
        ++counters_.retries;
        if (setup_.log)
          setup_.log({LogLevel::info, std::string(error.what()) + "; attempt " + std::to_string(attempt) +
                                          ", trying again in " + std::to_string(pause.count()) + " ms"});
      }) {}

HttpRequest S3Client::sign(const S3Call& call, const std::string& payload_hash, std::int64_t clock_offset,
                           const CallContext& context) {
  const Credentials credentials = setup_.credentials.get(context);
  const WallTime now = setup_.clock.wall_now() + std::chrono::seconds(clock_offset);
  SignedRequest request{call.method, address_.path(call.key), call.query, call.headers, payload_hash};
  request.headers.push_back({"Host", address_.host()});
  request.headers.push_back({"x-amz-date", iso8601_basic(now)});
  request.headers.push_back({"x-amz-content-sha256", payload_hash});
  if (!credentials.session_token.empty())
    request.headers.push_back({"x-amz-security-token", credentials.session_token.reveal()});
  const std::string authorization =
      authorization_header(request, credentials, {.region = url_.region, .service = "s3"}, now);
  HttpRequest http;
  http.method = call.method;
  http.url = address_.url(request.path, canonical_query(call.query));
  http.headers = std::move(request.headers);
  http.headers.push_back({"Authorization", authorization});
  http.body = call.body;
  http.max_response = std::max(call.max_response, error_document_size);
  http.timeout = base_timeout + milliseconds((call.body.size() + call.max_response) / slowest_bytes_per_ms);
  return http;
}

bool S3Client::take_time_of_store(const S3Error& error, const S3Call& call, const HttpResponse& response,
                                  std::int64_t signed_with) {
  if (response.status != 403 || (error.code != "RequestTimeTooSkewed" && call.method != "HEAD")) return false;
  const auto theirs = parse_http_date(std::string(response.header("Date").value_or("")));
  if (!theirs) return false;
  const auto offset = std::chrono::duration_cast<std::chrono::seconds>(*theirs - setup_.clock.wall_now());
  const auto least = call.method == "HEAD" ? refused_offset : new_offset;
  if (std::chrono::abs(offset - std::chrono::seconds(signed_with)) < least) return false; // that was it already
  clock_offset_ = offset.count();
  return true;
}

S3Answer S3Client::attempt(const S3Call& call, const std::string& payload_hash, const CallContext& context) {
  ++counters_.requests;
  counters_.bytes_sent += call.body.size();
  const std::int64_t clock_offset = clock_offset_;
  S3Answer answer{.http = setup_.http.perform(sign(call, payload_hash, clock_offset, context), context)};
  counters_.bytes_received += answer.http.body.size();
  const bool plain_success = answer.http.status >= 200 && answer.http.status < 300;
  const S3Error error = plain_success && !call.error_in_success ? S3Error() : parse_s3_error(answer.http);
  // An error document within a 200 says by its code what a status would have said; 500 stands for an unknown one.
  const int status = plain_success && !error.code.empty() ? 500 : answer.http.status;
  answer.verdict = judge(status, error.code, call.method != "HEAD");
  if (answer.verdict == S3Verdict::refused && take_time_of_store(error, call, answer.http, clock_offset))
    answer.verdict = S3Verdict::transient;
  if (answer.verdict == S3Verdict::expired && !setup_.credentials.invalidate()) answer.verdict = S3Verdict::refused;
  if (answer.verdict == S3Verdict::transient || answer.verdict == S3Verdict::expired ||
      answer.verdict == S3Verdict::refused)
    throw_s3_error(answer.verdict, answer.http, error, where(call.key), url_.region);
  return answer;
}

S3Answer S3Client::call(const S3Call& call, const CallContext& context) {
  const std::string payload_hash = to_hex(call.body_digest ? *call.body_digest : sha256(call.body));
  return retrier_.run(context, [&] { return attempt(call, payload_hash, context); });
}

} // namespace dbops::core
