// One HTTP exchange. The interface is what tests replace; the libcurl engine behind it is curl_client.h.
#pragma once

#include "core/base/bytes.h"
#include "core/base/clock.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::core {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<HttpHeader> headers;
  ByteView body;                              // sent with its length when the method is PUT or POST
  std::uint64_t max_response = 1 << 20;       // bytes of body; a longer answer is an error
  milliseconds timeout = milliseconds(60000); // for the whole exchange
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;
  Bytes body;

  // First header of that name, in any case.
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const;
};

class HttpTransport {
 public:
  virtual ~HttpTransport() = default;

  // Any answer of a server is a return, whatever its status. Redirects are not followed.
  // Throws TransientError (time-out, reset, refused, name not resolved, answer cut short), Error(configuration) (bad
  // URL, certificate not trusted), Error(cancelled), Error(corrupt) (answer too long). Messages carry the host, never
  // the query or a header.
  virtual HttpResponse perform(const HttpRequest& request, const CallContext& context) = 0;
};

// Percent-encodes everything but A-Z a-z 0-9 - . _ ~ and, when keep_slash, "/" (RFC 3986, as SigV4 demands).
std::string uri_encode(std::string_view text, bool keep_slash);
// Throws Error(corrupt) for a percent sign without two hexadecimal digits.
std::string uri_decode(std::string_view text);

// "Sat, 21 Nov 2026 10:04:50 GMT". Absent: not a date.
std::optional<WallTime> parse_http_date(const std::string& text);

struct QueryParameter {
  std::string name;
  std::string value;
};
// "a=1&b=x%20y", encoded, in the order given.
std::string encode_query(const std::vector<QueryParameter>& parameters);

} // namespace dbops::core
