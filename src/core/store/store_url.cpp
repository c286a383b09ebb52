#include "core/store/store_url.h"

#include "core/base/error.h"
#include "core/http/http.h"

#include <algorithm>
#include <charconv>

namespace dbops::core {

namespace {

constexpr std::uint64_t mebibyte = 1 << 20;
constexpr const char* grammar_hint =
    "Write file:///path or s3://bucket/prefix?endpoint=https://host:port&region=name; other options are style, "
    "ca-file, verify-tls, checksum, conditional-put, part-size and multipart-threshold.";

[[noreturn]] void refuse(const std::string& problem) {
  throw Error(ErrorKind::configuration, "store URL: " + problem, grammar_hint);
}

// One of two words.
bool choice(const std::string& name, std::string_view value, std::string_view yes, std::string_view no) {
  if (value != yes && value != no) refuse(name + " must be " + std::string(yes) + " or " + std::string(no));
  return value == yes;
}

std::uint64_t size_option(const std::string& name, std::string_view value, std::uint64_t least, std::uint64_t most) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || std::string_view(end, value.data() + value.size()) != "MB" || number > most / mebibyte ||
      number * mebibyte < least)
    refuse(name + " must be a number of mebibytes from " + std::to_string(least / mebibyte) + "MB to " +
           std::to_string(most / mebibyte) + "MB");
  return number * mebibyte;
}

std::string valid_endpoint(std::string endpoint) {
  while (endpoint.ends_with('/'))
    endpoint.pop_back();
  const auto host = endpoint.find("://");
  const std::string scheme = endpoint.substr(0, host);
  if (host == std::string::npos || (scheme != "http" && scheme != "https") || host + 3 == endpoint.size() ||
      endpoint.find_first_of("/?#@ ", host + 3) != std::string::npos)
    refuse("endpoint must be http://host[:port] or https://host[:port]");
  return endpoint;
}

void set_option(S3Url& url, const std::string& name, const std::string& value) {
  if (name == "endpoint")
    url.endpoint = valid_endpoint(value);
  else if (name == "region")
    url.region = value;
  else if (name == "style")
    url.style = choice(name, value, "path", "virtual") ? S3Url::Style::path : S3Url::Style::virtual_host;
  else if (name == "ca-file")
    url.ca_file = value;
  else if (name == "verify-tls")
    url.verify_tls = choice(name, value, "on", "off");
  else if (name == "checksum")
    url.send_checksum = choice(name, value, "sha256", "none");
  else if (name == "conditional-put")
    url.probe_conditional_put = choice(name, value, "auto", "off");
  else if (name == "part-size")
    url.part_size = size_option(name, value, 5 * mebibyte, 1024 * mebibyte);
  else if (name == "multipart-threshold")
    url.multipart_threshold = size_option(name, value, 5 * mebibyte, 5120 * mebibyte);
  else
    refuse("there is no option \"" + name + "\"");
}

std::string decoded(std::string_view text) {
  try {
    return uri_decode(text);
  } catch (const Error&) {
    refuse("bad percent-encoding");
  }
}

void set_options(S3Url& url, std::string_view query) {
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const std::string_view option = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const auto equals = option.find('=');
    if (equals == std::string_view::npos) refuse("an option without \"=\"");
    set_option(url, std::string(option.substr(0, equals)), decoded(option.substr(equals + 1)));
  }
}

bool valid_bucket(std::string_view bucket) {
  constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";
  return bucket.size() >= 3 && bucket.size() <= 255 && bucket.find_first_not_of(allowed) == std::string_view::npos;
}

S3Url parse_s3(std::string_view rest) {
  S3Url url;
  const auto question = rest.find('?');
  std::string_view location = rest.substr(0, question);
  const auto slash = std::min(location.find('/'), location.size());
  url.bucket = location.substr(0, slash);
  if (!valid_bucket(url.bucket)) refuse("the name of the bucket is missing or not one that S3 allows");
  location.remove_prefix(slash);
  const auto first = location.find_first_not_of('/');
  if (first != std::string_view::npos)
    url.prefix = decoded(location.substr(first, location.find_last_not_of('/') - first + 1));
  if (question != std::string_view::npos) set_options(url, rest.substr(question + 1));
  return url;
}

} // namespace

StoreUrl parse_store_url(std::string_view text) {
  constexpr std::string_view file = "file://", s3 = "s3://";
  const auto authority_end =
      text.find_first_of("/?", text.find("://") == std::string_view::npos ? 0 : text.find("://") + 3);
  if (text.substr(0, authority_end).find('@') != std::string_view::npos)
    refuse("a user or password does not belong into it");
  if (text.starts_with(s3)) return parse_s3(text.substr(s3.size()));
  if (!text.starts_with(file)) refuse("it begins neither with file:// nor with s3://");
  FileUrl url{decoded(text.substr(file.size()))};
  if (!url.path.starts_with('/')) refuse("file:// needs an absolute path: file:///path");
  if (text.find('?') != std::string_view::npos) refuse("file:// has no options");
  return url;
}

} // namespace dbops::core
