#include "core/text/bar.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dbops::core {

TEST(ProgressBar, Utf8GrowsByEighths) {
  EXPECT_EQ(progress_bar(0, 6, Charset::utf8), "▕    ▏");
  EXPECT_EQ(progress_bar(1.0 / 32, 6, Charset::utf8), "▕▏   ▏");
  EXPECT_EQ(progress_bar(0.5, 6, Charset::utf8), "▕██  ▏");
  EXPECT_EQ(progress_bar(0.625, 6, Charset::utf8), "▕██▌ ▏");
  EXPECT_EQ(progress_bar(1, 6, Charset::utf8), "▕████▏");
}

TEST(ProgressBar, Ascii) {
  EXPECT_EQ(progress_bar(0, 6, Charset::ascii), "[    ]");
  EXPECT_EQ(progress_bar(0.01, 6, Charset::ascii), "[>   ]");
  EXPECT_EQ(progress_bar(0.5, 6, Charset::ascii), "[==> ]");
  EXPECT_EQ(progress_bar(0.999, 6, Charset::ascii), "[===>]");
  EXPECT_EQ(progress_bar(1, 6, Charset::ascii), "[====]");
}

TEST(ProgressBar, IsFullOnlyAtTheEnd) {
  EXPECT_EQ(progress_bar(0.999, 6, Charset::utf8), "▕███▉▏");
}

TEST(ProgressBar, AlwaysAsWideAsAsked) {
  for (const Charset charset : {Charset::utf8, Charset::ascii})
    for (std::size_t width = 3; width < 60; ++width)
      for (int permille = 0; permille <= 1000; ++permille)
        ASSERT_EQ(columns(progress_bar(permille / 1000.0, width, charset)), width) << permille;
}

TEST(ProgressBar, OddArguments) {
  EXPECT_EQ(progress_bar(0.5, 2, Charset::utf8), "");
  EXPECT_EQ(progress_bar(-1, 5, Charset::ascii), "[   ]");
  EXPECT_EQ(progress_bar(7, 5, Charset::ascii), "[===]");
  EXPECT_EQ(progress_bar(std::nan(""), 5, Charset::ascii), "[   ]");
}

} // namespace dbops::core
