#include "core/text/json_text.h"

#include <gtest/gtest.h>

#include <random>

using namespace dbops::core;
using nlohmann::json;

TEST(JsonText, PlainTextIsPlainJson) {
  const json value{{"a", {1, 2.5, nullptr, true}}, {"b", "x \"y\" \\ \n \x01 \x7f"}};
  EXPECT_EQ(json_text(value), value.dump());
  EXPECT_EQ(parse_json_text(value.dump()), value);
  EXPECT_EQ(json_text("line\n"), "\"line\\n\"");
}

TEST(JsonText, BytesStayAsTheyAre) {
  // LATIN1, EUC_JP, UTF-8, and what is no character of any of them.
  for (const std::string text :
       {"M\xFCller", "\xC6\xFC\xCB\xDC", "\xE6\x97\xA5\xF0\x9F\x90\x98", "\xFF\xFE\x80", "\xC3", "\xC2\xA9"}) {
    EXPECT_EQ(json_text(text), '"' + text + '"');
    EXPECT_EQ(parse_json_text('"' + text + '"'), json(text));
    const json nested{{"m\xFC", {text, {{text, text}}}}};
    EXPECT_EQ(json_text(nested), "{\"m\xFC\":[\"" + text + "\",{\"" + text + "\":\"" + text + "\"}]}");
    EXPECT_EQ(parse_json_text(json_text(nested)), nested);
  }
}

TEST(JsonText, EveryByteComesBack) {
  std::mt19937 random(7);
  for (int round = 0; round < 2'000; ++round) {
    std::string text;
    for (unsigned i = random() % 30; i > 0; --i)
      text += static_cast<char>(random() % 256);
    const json value{text, {{text, 1}}};
    ASSERT_EQ(parse_json_text(json_text(value)), value);
  }
}

TEST(JsonText, WhatIsNoJsonIsRefused) {
  for (const std::string text : {"", "{", "\"\xFC", "{\"a\":\xFC}", "[1,]"})
    EXPECT_THROW(parse_json_text(text), json::parse_error) << text;
}
