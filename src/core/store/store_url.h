// The URL of a repository; the same in a setting, an environment variable and on the command line.
//
//   file:///path
//   s3://bucket[/prefix][?endpoint=https://host[:port]&region=...&style=path|virtual&ca-file=/path&verify-tls=on|off
//                        &checksum=sha256|none&conditional-put=auto|off&part-size=6MB&multipart-threshold=17MB]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace dbops::core {

struct FileUrl {
  std::string path; // absolute
};

struct S3Url {
  std::string bucket;
  std::string prefix;   // without slashes at its ends; may be empty
  std::string endpoint; // "https://host[:port]"; empty: AWS, by region
  std::string region;   // empty: AWS_REGION, AWS_DEFAULT_REGION, us-east-1
  enum class Style { automatic, path, virtual_host } style = Style::automatic; // automatic: path with an endpoint
  std::string ca_file;                                                         // empty: the system's certificates
  bool verify_tls = true;
  bool send_checksum = true;         // x-amz-checksum-sha256 besides the signed payload hash
  bool probe_conditional_put = true; // false: never rely on If-None-Match
  // Bytes, 5 MiB to 1 GiB. An upload in parts has up to five of them in memory.
  std::uint64_t part_size = 6 << 20;
  // Bytes; larger objects go in parts. A segment of 16 MiB that does not compress is below, and goes in one request.
  std::uint64_t multipart_threshold = 17 << 20;
};

using StoreUrl = std::variant<FileUrl, S3Url>;

// Throws Error(configuration) naming what is wrong. A URL with a user or password is refused without showing it.
StoreUrl parse_store_url(std::string_view text);

} // namespace dbops::core
