// Requests as they are signed: whatever stands in keys, prefixes and headers, the signed text is one of its kind.
#include "core/store/sigv4.h"

#include <algorithm>
#include <cstdlib>
#include <set>

using namespace dbops::core;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// What a request line may have without being encoded once more.
bool is_encoded(std::string_view text, std::string_view besides) {
  return std::ranges::all_of(text, [besides](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("-_.~%").find(char(c)) != std::string_view::npos ||
           besides.find(char(c)) != std::string_view::npos;
  });
}

// Fields end with a zero byte.
std::string take(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\0'), rest.size());
  std::string field(rest.substr(0, end));
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return field;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::string key = take(rest);
  require(uri_decode(uri_encode(key, true)) == key && uri_decode(uri_encode(key, false)) == key);
  require(is_encoded(uri_encode(key, true), "/") && is_encoded(uri_encode(key, false), ""));
  SignedRequest request{
      .method = "GET", .path = "/" + uri_encode(key, true), .query = {}, .headers = {}, .payload_hash = {}};
  std::set<std::string> names;
  while (!rest.empty()) {
    const bool header = rest.front() % 2 == 0;
    std::string name = take(rest), value = take(rest);
    if (!header)
      request.query.push_back({std::move(name), std::move(value)});
    else if (std::ranges::transform(name, name.begin(), [](unsigned char c) { return char(std::tolower(c)); });
             names.insert(name).second)
      request.headers.push_back({std::move(name), std::move(value)});
  }
  require(is_encoded(canonical_query(request.query), "=&"));
  const std::string canonical = canonical_request(request);
  SignedRequest turned = request;
  std::ranges::reverse(turned.query);
  std::ranges::reverse(turned.headers);
  require(canonical_request(turned) == canonical);
  const Credentials credentials{"AKID", Secret("secret"), Secret()};
  const std::string header = authorization_header(request, credentials, {"r", "s3"}, WallTime());
  require(header == authorization_header(turned, credentials, {"r", "s3"}, WallTime()));
  const std::string signature = header.substr(header.rfind("Signature=") + 10);
  require(signature.size() == 64 && signature.find_first_not_of("0123456789abcdef") == std::string::npos);
  turned.path += "a";
  require(authorization_header(turned, credentials, {"r", "s3"}, WallTime()) != header);
  return 0;
}
