#include "core/store/xml.h"

#include "core/base/error.h"
#include "core/store/s3_error.h"
#include "core/store/s3_list.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

TEST(Xml, ElementsTextAndReferences) {
  const XmlElement root =
      parse_xml("<?xml version=\"1.0\"?>\n<!-- c --><s:a x=\"1>2\" y='/'>t&lt;&#65;&#x20AC;&amp;<b/>"
                "<b >in<![CDATA[<raw>]]></b ><c><d>deep</d></c>u</s:a>\n");
  EXPECT_EQ(root.name, "a");
  EXPECT_EQ(root.text, "t<A\xe2\x82\xac&u");
  ASSERT_EQ(root.children.size(), 3U);
  EXPECT_EQ(root.children[1].text, "in<raw>");
  EXPECT_EQ(root.child("c")->child_text("d"), "deep");
  EXPECT_EQ(root.child_text("none"), "");
}

TEST(Xml, WhatIsNotWellFormed) {
  for (const char* text : {"", "text", "<a>", "<a></b>", "<a/><b/>", "<a>&none;</a>", "<a>&#0;</a>", "<a>&#xD800;</a>",
                           "<a>&#;</a>", "<a>&amp</a>", "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "<a", "<a b=\">",
                           "< a/>", "</a>", "<a><![CDATA[x</a>", "<>x</>"})
    EXPECT_THROW(parse_xml(text), Error) << text;
  std::string deep;
  for (int i = 0; i < 100000; ++i)
    deep += "<a>";
  EXPECT_THROW(parse_xml(deep), Error);
}

constexpr const char* list_answer = R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix><MaxKeys>2</MaxKeys>
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>
<Contents><Key>p/x%20y%2Bz</Key><LastModified>2026-11-21T10:00:00.123Z</LastModified><ETag>&quot;e&quot;</ETag><Size>42</Size></Contents>
<CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes></ListBucketResult>)";

TEST(S3List, OnePage) {
  const ListPage page = parse_list_answer(list_answer, "p/");
  ASSERT_EQ(page.objects.size(), 1U);
  EXPECT_EQ(page.objects[0].key, "x y+z");
  EXPECT_EQ(page.objects[0].size, 42U);
  EXPECT_EQ(page.objects[0].modified, WallTime(std::chrono::seconds(1795255200)));
  EXPECT_EQ(page.prefixes, std::vector<std::string>{"d/"});
  EXPECT_EQ(page.continuation, "a&b");
}

TEST(S3List, WhatIsNoList) {
  EXPECT_THROW(parse_list_answer(list_answer, "other/"), Error);
  EXPECT_THROW(parse_list_answer("<Error><Code>X</Code></Error>", ""), Error);
  std::string text = list_answer;
  EXPECT_THROW(parse_list_answer(text.replace(text.find("a&amp;b"), 7, ""), "p/"), Error);
  text = list_answer;
  EXPECT_THROW(parse_list_answer(text.replace(text.find("42"), 2, "4x"), "p/"), Error);
  text = list_answer;
  EXPECT_THROW(parse_list_answer(text.replace(text.find("%20"), 3, "%2"), "p/"), Error);
}

HttpResponse answer(int status, const std::string& body) {
  return {.status = status, .headers = {}, .body = to_bytes(body)};
}

TEST(S3Errors, FieldsOfTheDocument) {
  const S3Error error =
      parse_s3_error(answer(301, "<Error><Code>PermanentRedirect</Code><Message>m</Message><Region>eu-west-1</"
                                 "Region><RequestId>r</RequestId></Error>"));
  EXPECT_EQ(error.code, "PermanentRedirect");
  EXPECT_EQ(error.message, "m");
  EXPECT_EQ(error.region, "eu-west-1");
  EXPECT_EQ(parse_s3_error(answer(502, "<html>Bad gateway")).code, "");
}

TEST(S3Errors, WhatIsTriedAgain) {
  EXPECT_EQ(judge(200, "", true), S3Verdict::success);
  for (const int status : {408, 429, 500, 502, 503, 504})
    EXPECT_EQ(judge(status, "", true), S3Verdict::transient) << status;
  for (const char* code : {"SlowDown", "RequestTimeout", "BadDigest", "InternalError", "OperationAborted"})
    EXPECT_EQ(judge(400, code, true), S3Verdict::transient) << code;
  for (const char* code : {"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed"})
    EXPECT_EQ(judge(403, code, true), S3Verdict::refused) << code;
  EXPECT_EQ(judge(301, "PermanentRedirect", true), S3Verdict::refused);
  EXPECT_EQ(judge(404, "NoSuchBucket", true), S3Verdict::refused);
  EXPECT_EQ(judge(404, "NoSuchKey", true), S3Verdict::no_such_object);
  EXPECT_EQ(judge(404, "", false), S3Verdict::no_such_object); // HEAD
  EXPECT_EQ(judge(404, "", true), S3Verdict::transient);       // some proxy's
  EXPECT_EQ(judge(412, "PreconditionFailed", true), S3Verdict::exists);
  EXPECT_EQ(judge(416, "InvalidRange", true), S3Verdict::beyond_end);
  EXPECT_EQ(judge(501, "NotImplemented", true), S3Verdict::not_implemented);
  EXPECT_EQ(judge(400, "ExpiredToken", true), S3Verdict::expired);
}

TEST(S3Errors, WrongRegionNamesBoth) {
  const HttpResponse response =
      answer(400, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>");
  try {
    throw_s3_error(S3Verdict::refused, response, parse_s3_error(response), "s3://b/k", "us-east-1");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::configuration);
    EXPECT_NE(error.hint().find("eu-west-1"), std::string::npos);
    EXPECT_NE(error.hint().find("us-east-1"), std::string::npos);
  }
}

} // namespace
} // namespace dbops::core
