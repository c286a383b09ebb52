#include "core/store/store_url.h"

#include "core/base/error.h"
#include "core/store/s3_client.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

S3Url s3(const char* text) {
  return std::get<S3Url>(parse_store_url(text));
}

TEST(StoreUrl, File) {
  EXPECT_EQ(std::get<FileUrl>(parse_store_url("file:///backups/a%20b")).path, "/backups/a b");
}

TEST(StoreUrl, S3) {
  const S3Url url =
      s3("s3://bucket//pre/fix/?endpoint=https://h:9000/&region=eu&style=virtual&ca-file=/a%26b&verify-tls=off"
         "&checksum=none&conditional-put=off&part-size=8MB&multipart-threshold=100MB");
  EXPECT_EQ(url.bucket, "bucket");
  EXPECT_EQ(url.prefix, "pre/fix");
  EXPECT_EQ(url.endpoint, "https://h:9000");
  EXPECT_EQ(url.region, "eu");
  EXPECT_EQ(url.style, S3Url::Style::virtual_host);
  EXPECT_EQ(url.ca_file, "/a&b");
  EXPECT_FALSE(url.verify_tls);
  EXPECT_FALSE(url.send_checksum);
  EXPECT_FALSE(url.probe_conditional_put);
  EXPECT_EQ(url.part_size, 8U << 20);
  EXPECT_EQ(url.multipart_threshold, 100U << 20);
  EXPECT_TRUE(s3("s3://bucket").verify_tls);
  EXPECT_EQ(s3("s3://bucket").prefix, "");
}

TEST(StoreUrl, Refused) {
  for (const char* text :
       {"", "backups", "/backups", "file://backups", "file:///a?b=c", "s3://", "s3:///x", "s3://b", "s3://bucket?x=1",
        "s3://bucket?region", "s3://bucket?endpoint=h:9000", "s3://bucket?endpoint=ftp://h",
        "s3://bucket?endpoint=https://", "s3://bucket?verify-tls=maybe", "s3://bucket?part-size=1MB",
        "s3://bucket?part-size=16", "s3://bucket/%zz", "s3://user:pass@bucket/x", "gs://bucket"})
    EXPECT_THROW(parse_store_url(text), Error) << text;
}

TEST(StoreUrl, APasswordIsNotShown) {
  try {
    parse_store_url("s3://me:hush@bucket/x");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ((std::string(error.what()) + error.hint()).find("hush"), std::string::npos);
  }
}

std::string address(S3Url url, const std::string& key) {
  if (url.region.empty()) url.region = "us-east-1";
  const S3Address address(url);
  return address.url(address.path(key), "");
}

TEST(S3Addressing, Styles) {
  EXPECT_EQ(address(s3("s3://bucket/x?region=eu-west-1"), "a b"), "https://bucket.s3.eu-west-1.amazonaws.com/a%20b");
  EXPECT_EQ(address(s3("s3://my.bucket/x"), "k"), "https://s3.us-east-1.amazonaws.com/my.bucket/k");
  EXPECT_EQ(address(s3("s3://bucket?endpoint=http://h:80"), "k"), "http://h/bucket/k");
  EXPECT_EQ(address(s3("s3://bucket?endpoint=https://h:8443&style=virtual"), ""), "https://bucket.h:8443/");
  EXPECT_EQ(address(s3("s3://bucket?endpoint=https://h"), ""), "https://h/bucket");
}

} // namespace
} // namespace dbops::core
