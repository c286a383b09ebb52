#include "core/store/sigv4.h"

#include "core/crypto/hash.h"

#include <algorithm>
#include <cctype>
#include <tuple>
#include <utility>

namespace dbops::core {

namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256";

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return result;
}

// Leading and trailing blanks go, runs of blanks become one.
std::string squeeze(std::string_view value) {
  std::string result;
  bool pending = false;
  for (const char c : value) {
    if (c == ' ' || c == '\t') {
      pending = !result.empty();
      continue;
    }
    if (std::exchange(pending, false)) result += ' ';
    result += c;
  }
  return result;
}

// Lower-case names in byte order; the values of a repeated name are joined by commas in their order.
std::vector<HttpHeader> canonical_headers(const std::vector<HttpHeader>& headers) {
  std::vector<HttpHeader> sorted;
  sorted.reserve(headers.size());
  for (const HttpHeader& header : headers)
    sorted.push_back({lower(header.name), squeeze(header.value)});
  std::ranges::stable_sort(sorted, {}, &HttpHeader::name);
  std::vector<HttpHeader> joined;
  for (HttpHeader& header : sorted) {
    if (!joined.empty() && joined.back().name == header.name)
      joined.back().value += "," + header.value;
    else
      joined.push_back(std::move(header));
  }
  return joined;
}

std::string signed_names(const std::vector<HttpHeader>& canonical) {
  std::string names;
  for (const HttpHeader& header : canonical)
    names += (names.empty() ? "" : ";") + header.name;
  return names;
}

std::string hex_sha256(std::string_view text) {
  return to_hex(sha256(as_bytes(text)));
}

std::string signature(const Credentials& credentials, std::string_view date, const SigningScope& scope,
                      std::string_view string_to_sign) {
  const Secret start("AWS4" + credentials.secret_access_key.reveal());
  Digest key = hmac_sha256(as_bytes(start.reveal()), as_bytes(date));
  for (const std::string_view part :
       {std::string_view(scope.region), std::string_view(scope.service), std::string_view("aws4_request")})
    key = hmac_sha256(key, as_bytes(part));
  return to_hex(hmac_sha256(key, as_bytes(string_to_sign)));
}

} // namespace

std::string canonical_query(std::vector<QueryParameter> query) {
  for (QueryParameter& parameter : query)
    parameter = {uri_encode(parameter.name, false), uri_encode(parameter.value, false)};
  std::ranges::sort(query, [](const QueryParameter& a, const QueryParameter& b) {
    return std::tie(a.name, a.value) < std::tie(b.name, b.value);
  });
  std::string text;
  for (const QueryParameter& parameter : query)
    text += (text.empty() ? "" : "&") + parameter.name + "=" + parameter.value;
  return text;
}

std::string canonical_request(const SignedRequest& request) {
  const auto headers = canonical_headers(request.headers);
  std::string text = request.method + "\n" + request.path + "\n" + canonical_query(request.query) + "\n";
  for (const HttpHeader& header : headers)
    text += header.name + ":" + header.value + "\n";
  return text + "\n" + signed_names(headers) + "\n" + request.payload_hash;
}

std::string authorization_header(const SignedRequest& request, const Credentials& credentials,
                                 const SigningScope& scope, WallTime time) {
  const std::string timestamp = iso8601_basic(time);
  const std::string date = timestamp.substr(0, 8);
  const std::string scope_text = date + "/" + scope.region + "/" + scope.service + "/aws4_request";
  const std::string string_to_sign =
      std::string(algorithm) + "\n" + timestamp + "\n" + scope_text + "\n" + hex_sha256(canonical_request(request));
  return std::string(algorithm) + " Credential=" + credentials.access_key_id + "/" + scope_text +
         ", SignedHeaders=" + signed_names(canonical_headers(request.headers)) +
         ", Signature=" + signature(credentials, date, scope, string_to_sign);
}

} // namespace dbops::core
