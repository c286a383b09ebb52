#include "core/text/columns.h"

#include <gtest/gtest.h>

namespace dbops::core {

TEST(Columns, OfOrdinaryText) {
  EXPECT_EQ(columns(""), 0U);
  EXPECT_EQ(columns("users"), 5U);
  EXPECT_EQ(columns("Straße"), 6U);
  EXPECT_EQ(columns("…█▏"), 3U);
}

TEST(Columns, WideAndCombiningCharacters) {
  EXPECT_EQ(columns("日本"), 4U);
  EXPECT_EQ(columns("ｗ"), 2U);           // full width
  EXPECT_EQ(columns("e\u0301"), 1U);      // e and a combining acute
  EXPECT_EQ(columns("\u1112\u1161"), 2U); // a Hangul syllable in two parts
  EXPECT_EQ(columns("🚀"), 2U);
  EXPECT_EQ(columns("a\u200bb"), 2U); // zero width space
}

TEST(Columns, WhatIsNotUtf8TakesOneAByte) {
  EXPECT_EQ(columns("\xff"), 1U);
  EXPECT_EQ(columns("\xe4\xbd"), 2U);         // cut off in the middle
  EXPECT_EQ(columns("\xc0\x80"), 2U);         // longer than necessary
  EXPECT_EQ(columns("\xed\xa0\x80"), 3U);     // a surrogate
  EXPECT_EQ(columns("\xf4\x90\x80\x80"), 4U); // past U+10FFFF
}

TEST(TerminalText, CannotSteerTheTerminal) {
  EXPECT_EQ(terminal_text("users"), "users");
  EXPECT_EQ(terminal_text("a\nb\tc\rd"), "a b c d");
  EXPECT_EQ(terminal_text("\x1b[2Jx"), "\ufffd[2Jx");
  EXPECT_EQ(terminal_text("\u009b2J"), "\ufffd2J"); // CSI in one character
  EXPECT_EQ(terminal_text("a\u202eb"), "a\ufffd"
                                       "b"); // right-to-left override
  EXPECT_EQ(terminal_text("a\u2028b"), "a\ufffd"
                                       "b"); // line separator
  EXPECT_EQ(terminal_text("\x7f\xff"), "\ufffd\ufffd");
  EXPECT_EQ(terminal_text(std::string_view("a\0b", 3)), "a\ufffd"
                                                        "b");
}

TEST(TerminalText, Ascii) {
  EXPECT_EQ(terminal_text("Straße 日\x1b", Charset::ascii), "Stra?e ??");
}

TEST(Clipped, KeepsWhatFits) {
  EXPECT_EQ(clipped("users", 5), "users");
  EXPECT_EQ(clipped("日本", 4), "日本");
  EXPECT_EQ(clipped("", 0), "");
}

TEST(Clipped, SaysThatSomethingWasCut) {
  EXPECT_EQ(clipped("users", 4), "use…");
  EXPECT_EQ(clipped("users", 4, Charset::ascii), "use~");
  EXPECT_EQ(clipped("users", 1), "…");
  EXPECT_EQ(clipped("users", 0), "");
}

TEST(Clipped, NeverCutsACharacterInTwo) {
  EXPECT_EQ(clipped("日本語", 5), "日本…");
  EXPECT_EQ(clipped("日本語", 4), "日…"); // a column is left over
  EXPECT_EQ(clipped("Grüße", 4), "Grü…");
}

TEST(Padded, ToEitherSide) {
  EXPECT_EQ(padded("ab", 4), "ab  ");
  EXPECT_EQ(padded("ab", 4, Align::right), "  ab");
  EXPECT_EQ(padded("日", 4), "日  ");
  EXPECT_EQ(padded("abcde", 4), "abcde");
}

} // namespace dbops::core
