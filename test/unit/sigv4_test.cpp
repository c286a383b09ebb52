// Against the values that AWS publishes: the S3 examples ("Authenticating Requests: Using the Authorization Header")
// and cases of aws-sig-v4-test-suite.
#include "core/store/sigv4.h"

#include "core/crypto/hash.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

const std::string empty_hash = to_hex(sha256({}));

std::string signature_of(const std::string& authorization) {
  return authorization.substr(authorization.find("Signature=") + 10);
}

class S3Example : public testing::Test {
 protected:
  std::string sign(SignedRequest request) const {
    request.headers.push_back({"Host", "examplebucket.s3.amazonaws.com"});
    request.headers.push_back({"x-amz-content-sha256", request.payload_hash});
    request.headers.push_back({"x-amz-date", "20130524T000000Z"});
    return authorization_header(request, credentials_, {"us-east-1", "s3"}, *parse_iso8601("2013-05-24T00:00:00Z"));
  }
  const Credentials credentials_{"AKIAIOSFODNN7EXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), Secret()};
};

TEST_F(S3Example, GetObject) {
  EXPECT_EQ(sign({"GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, empty_hash}),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_F(S3Example, PutObject) {
  const std::string hash = to_hex(sha256(as_bytes("Welcome to Amazon S3.")));
  EXPECT_EQ(
      signature_of(sign({"PUT",
                         "/" + uri_encode("test$file.text", true),
                         {},
                         {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                         hash})),
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_F(S3Example, BucketLifecycle) {
  EXPECT_EQ(signature_of(sign({"GET", "/", {{"lifecycle", ""}}, {}, empty_hash})),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST_F(S3Example, ListObjects) {
  EXPECT_EQ(signature_of(sign({"GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}, empty_hash})),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

class TestSuite : public testing::Test {
 protected:
  std::string sign(SignedRequest request) const {
    request.payload_hash = empty_hash;
    request.headers.push_back({"Host", "example.amazonaws.com"});
    request.headers.push_back({"X-Amz-Date", "20150830T123600Z"});
    return signature_of(
        authorization_header(request, {"AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), Secret()},
                             {"us-east-1", "service"}, *parse_iso8601("2015-08-30T12:36:00Z")));
  }
};

TEST_F(TestSuite, GetVanilla) {
  EXPECT_EQ(sign({"GET", "/", {}, {}, {}}), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST_F(TestSuite, GetVanillaQueryOrderKeyCase) {
  EXPECT_EQ(sign({"GET", "/", {{"Param2", "value2"}, {"Param1", "value1"}}, {}, {}}),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
}

TEST_F(TestSuite, PostVanilla) {
  EXPECT_EQ(sign({"POST", "/", {}, {}, {}}), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

// post-sts-header-before
TEST_F(TestSuite, PostWithTheTokenOfASession) {
  const std::string token =
      "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSP"
      "fIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT"
      "7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlz"
      "m8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
  EXPECT_EQ(sign({"POST", "/", {}, {{"X-Amz-Security-Token", token}}, {}}),
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
}

TEST(IamExample, ListUsers) {
  const SignedRequest request{"GET",
                              "/",
                              {{"Action", "ListUsers"}, {"Version", "2010-05-08"}},
                              {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
                               {"Host", "iam.amazonaws.com"},
                               {"X-Amz-Date", "20150830T123600Z"}},
                              empty_hash};
  EXPECT_EQ(to_hex(sha256(as_bytes(canonical_request(request)))),
            "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59");
  EXPECT_EQ(signature_of(authorization_header(
                request, {"AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), Secret()},
                {"us-east-1", "iam"}, *parse_iso8601("2015-08-30T12:36:00Z"))),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

TEST(CanonicalHeaders, RunsOfBlanksBecomeOneAndRepeatedNamesAreJoined) {
  const std::string text = canonical_request(
      {"GET", "/", {}, {{"My-Header1", "  a   b  c  "}, {"My-Header2", "z"}, {"my-header2", "y"}}, "x"});
  EXPECT_NE(text.find("\nmy-header1:a b c\nmy-header2:z,y\n\nmy-header1;my-header2\nx"), std::string::npos) << text;
}

TEST(UriEncode, KeepsOnlyUnreservedCharacters) {
  EXPECT_EQ(uri_encode("a b/c~-_.é+%", true), "a%20b/c~-_.%C3%A9%2B%25");
  EXPECT_EQ(uri_encode("a/b", false), "a%2Fb");
  EXPECT_EQ(uri_decode("a%20b%2fc"), "a b/c");
}

} // namespace
} // namespace dbops::core
