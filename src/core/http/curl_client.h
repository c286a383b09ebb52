// HTTP by libcurl, with connections kept for the next request.
#pragma once

#include "core/http/http.h"

#include <memory>
#include <mutex>
#include <vector>

namespace dbops::core {

struct HttpOptions {
  std::string ca_file = {}; // PEM, the only authorities trusted; empty: the system's
  bool verify_tls = true;   // certificate and host name
  bool use_proxy = true;    // as the environment says; never for a metadata service
  milliseconds connect_timeout = milliseconds(10000);
  // An exchange that moves less than this many bytes a second for this long is given up.
  long low_speed_bytes = 1000;
  std::chrono::seconds low_speed_time{20};
};

// Used by any number of threads: each exchange takes a connection of its own out of a pool. Every exchange ends at once
// when context.stop is requested. libcurl's resolver threads get no signals.
// The first one made initialises libcurl and OpenSSL in this process: never make one in the postmaster.
class CurlClient final : public HttpTransport {
 public:
  // clock: for context.deadline; must outlive the client. Throws Error(configuration) when ca_file is not readable.
  CurlClient(HttpOptions options, const Clock& clock);
  ~CurlClient() override;
  CurlClient(const CurlClient&) = delete;
  CurlClient& operator=(const CurlClient&) = delete;

  HttpResponse perform(const HttpRequest& request, const CallContext& context) override;

 private:
  class Connection;
  std::unique_ptr<Connection> take_connection();
  void give_back(std::unique_ptr<Connection> connection);

  HttpOptions options_;
  const Clock& clock_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;
};

} // namespace dbops::core
