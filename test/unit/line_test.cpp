#include "core/text/line.h"

#include <gtest/gtest.h>

namespace dbops::core {

TEST(Line, RenderedWithAndWithoutColour) {
  const Line line{{"Job 1 "}, {"failed", Style::bad}};
  EXPECT_EQ(line.rendered(false), "Job 1 failed");
  EXPECT_EQ(line.rendered(true), "Job 1 \x1b[31mfailed\x1b[0m");
  EXPECT_EQ(line.columns(), 12U);
}

TEST(Line, ClippedAcrossSpans) {
  const Line line{{"abc"}, {"def", Style::good}, {"ghi"}};
  const auto cut = [&line](std::size_t width) { return line.clipped(width, Charset::utf8).rendered(false); };
  EXPECT_EQ(cut(10), "abcdefghi");
  EXPECT_EQ(cut(9), "abcdefghi");
  EXPECT_EQ(cut(8), "abcdefg…");
  EXPECT_EQ(cut(6), "abcde…"); // the span would fit, but what follows must show as missing
  EXPECT_EQ(cut(5), "abcd…");
  EXPECT_EQ(cut(3), "ab…");
  EXPECT_EQ(cut(1), "…");
  EXPECT_EQ(cut(0), "");
}

TEST(Line, ClippedKeepsStyles) {
  const Line line{{"abc"}, {"def", Style::good}};
  EXPECT_EQ(line.clipped(5, Charset::ascii).rendered(true), "abc\x1b[32md~\x1b[0m");
}

TEST(Line, EmptySpansTakeNoRoom) {
  const Line line{{""}, {"abc"}, {""}};
  EXPECT_EQ(line.clipped(3, Charset::utf8).rendered(false), "abc");
  EXPECT_EQ(line.clipped(2, Charset::utf8).rendered(false), "a…");
}

} // namespace dbops::core
