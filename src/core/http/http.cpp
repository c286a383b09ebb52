#include "core/http/http.h"

#include "core/base/error.h"

#include <algorithm>
#include <cctype>
#include <curl/curl.h>

namespace dbops::core {

namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](unsigned char c) { return std::tolower(c); };
  return std::ranges::equal(a, b, {}, lower, lower);
}

bool unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

} // namespace

std::optional<std::string_view> HttpResponse::header(std::string_view name) const {
  for (const HttpHeader& header : headers)
    if (equal_ignoring_case(header.name, name)) return header.value;
  return {};
}

std::string uri_encode(std::string_view text, bool keep_slash) {
  std::string encoded;
  for (const char c : text) {
    if (unreserved(c) || (c == '/' && keep_slash))
      encoded += c;
    else
      encoded += "%" + hex_field(static_cast<unsigned char>(c), 2);
  }
  return encoded;
}

std::string uri_decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) throw Error(ErrorKind::corrupt, "percent-encoding is cut short");
    decoded += char(from_hex(text.substr(i + 1, 2)).front());
    i += 2;
  }
  return decoded;
}

std::optional<WallTime> parse_http_date(const std::string& text) {
  const time_t seconds = curl_getdate(text.c_str(), nullptr);
  if (seconds < 0) return {};
  return WallTime(std::chrono::seconds(seconds));
}

std::string encode_query(const std::vector<QueryParameter>& parameters) {
  std::string query;
  for (const QueryParameter& parameter : parameters) {
    if (!query.empty()) query += '&';
    query += uri_encode(parameter.name, false) + "=" + uri_encode(parameter.value, false);
  }
  return query;
}

} // namespace dbops::core
