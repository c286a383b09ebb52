// Signed requests to one bucket, made again when that may help.
#pragma once

#include "core/base/log.h"
#include "core/crypto/hash.h"
#include "core/http/http.h"
#include "core/store/credentials.h"
#include "core/store/retry.h"
#include "core/store/s3_error.h"
#include "core/store/store_url.h"

#include <atomic>

namespace dbops::core {

// How a bucket is addressed.
class S3Address {
 public:
  // url.region must be set. Throws Error(configuration).
  explicit S3Address(const S3Url& url);
  [[nodiscard]] const std::string& host() const noexcept { return host_; } // value of the Host header
  // Encoded path of the request line; an empty key is the bucket itself.
  [[nodiscard]] std::string path(const std::string& key) const;
  [[nodiscard]] std::string url(const std::string& path, const std::string& query) const;
  [[nodiscard]] const std::string& endpoint() const noexcept { return origin_; }

 private:
  std::string origin_; // "https://host:port"
  std::string host_;
  std::string base_path_; // "/bucket" in path style, else empty
};

struct S3Call {
  std::string method = "GET";
  std::string key = {}; // with the prefix of the store; empty: the bucket
  std::vector<QueryParameter> query = {};
  std::vector<HttpHeader> headers = {}; // further ones; all are signed
  ByteView body = {};
  std::optional<Digest> body_digest = {}; // SHA-256 of the body, if the caller has it
  std::uint64_t max_response = 1 << 20;   // bytes; an error document of 64 KiB always fits
  bool error_in_success = false;          // a 200 may carry an <Error> (CompleteMultipartUpload)
};

struct S3Answer {
  S3Verdict verdict = S3Verdict::success;
  HttpResponse http;
};

// Counters since the client was made.
struct S3Counters {
  std::atomic<std::uint64_t> requests{0}, retries{0}, bytes_sent{0}, bytes_received{0};
};

struct S3ClientSetup {
  HttpTransport& http;
  CredentialsChain& credentials;
  Clock& clock;
  Random& random;
  RetryPolicy retry;
  LogSink log; // told of each retry; may be empty
};

class S3Client {
 public:
  // url.region must be set. What the setup refers to must outlive the client.
  S3Client(S3Url url, S3ClientSetup setup);

  // Returns success, no_such_object, exists, beyond_end, no_such_upload and not_implemented; throws for the rest, after
  // retries where they help. A retry repeats a request whose answer was lost: the caller must expect `exists` or
  // `no_such_upload` from its own first try.
  S3Answer call(const S3Call& call, const CallContext& context);

  [[nodiscard]] const S3Url& url() const noexcept { return url_; }
  [[nodiscard]] const S3Address& address() const noexcept { return address_; }
  [[nodiscard]] const S3Counters& counters() const noexcept { return counters_; }
  // A context of its own that ends after `time`, for what must be cleaned up after a stop.
  [[nodiscard]] CallContext bounded(milliseconds time) const {
    return {.stop = {}, .deadline = setup_.clock.steady_now() + time};
  }
  // "s3://bucket/key"
  [[nodiscard]] std::string where(const std::string& key) const { return "s3://" + url_.bucket + "/" + key; }

 private:
  // clock_offset: seconds that are added to this machine's time.
  HttpRequest sign(const S3Call& call, const std::string& payload_hash, std::int64_t clock_offset,
                   const CallContext& context);
  S3Answer attempt(const S3Call& call, const std::string& payload_hash, const CallContext& context);
  // Whether the request was refused for its time, and another one will be signed with the store's own.
  // signed_with: the offset that it was signed with.
  bool take_time_of_store(const S3Error& error, const S3Call& call, const HttpResponse& response,
                          std::int64_t signed_with);

  S3Url url_;
  S3Address address_;
  S3ClientSetup setup_;
  Retrier retrier_;
  S3Counters counters_;
  std::atomic<std::int64_t> clock_offset_{0}; // seconds, of the store's clock; 0 until it refuses ours
};

} // namespace dbops::core
