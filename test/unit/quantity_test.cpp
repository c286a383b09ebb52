#include "core/text/quantity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace dbops::core {

TEST(Grouped, ThreeDigitsAGroup) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(12345678), "12,345,678");
  EXPECT_EQ(grouped(-100), "-100");
  EXPECT_EQ(grouped(-1234), "-1,234");
  EXPECT_EQ(grouped(std::numeric_limits<std::int64_t>::max()), "9,223,372,036,854,775,807");
  EXPECT_EQ(grouped(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Abbreviated, ThreeDigits) {
  EXPECT_EQ(abbreviated(0), "0");
  EXPECT_EQ(abbreviated(987), "987");
  EXPECT_EQ(abbreviated(999.4), "999");
  EXPECT_EQ(abbreviated(999.6), "1.00k");
  EXPECT_EQ(abbreviated(12345), "12.3k");
  EXPECT_EQ(abbreviated(99960), "100k");
  EXPECT_EQ(abbreviated(999999), "1.00M");
  EXPECT_EQ(abbreviated(4.56e9), "4.56G");
  EXPECT_EQ(abbreviated(-5), "0");
  EXPECT_EQ(abbreviated(1e20), "100000P"); // no unit is left
}

TEST(RowRate, DecimalsOnlyWhenSlow) {
  EXPECT_EQ(row_rate(0), "0 rows/s");
  EXPECT_EQ(row_rate(-1), "0 rows/s");
  EXPECT_EQ(row_rate(std::nan("")), "0 rows/s");
  EXPECT_EQ(row_rate(2.54), "2.5 rows/s");
  EXPECT_EQ(row_rate(9.96), "10 rows/s");
  EXPECT_EQ(row_rate(12345.4), "12,345 rows/s");
  EXPECT_EQ(row_rate(HUGE_VAL), "1,000,000,000,000,000 rows/s");
}

TEST(ByteSize, PowersOf1024) {
  EXPECT_EQ(byte_size(0), "0 B");
  EXPECT_EQ(byte_size(999), "999 B");
  EXPECT_EQ(byte_size(1000), "0.98 kB");
  EXPECT_EQ(byte_size(1024), "1.00 kB");
  EXPECT_EQ(byte_size(12'600), "12.3 kB");
  EXPECT_EQ(byte_size(std::int64_t{1023} << 10), "1.00 MB");
  EXPECT_EQ(byte_size(std::int64_t{5} << 30), "5.00 GB");
  EXPECT_EQ(byte_size(std::numeric_limits<std::int64_t>::max()), "8.00 EB");
  EXPECT_EQ(byte_size(-1), "0 B");
}

TEST(DurationText, TheTwoLargestUnits) {
  EXPECT_EQ(duration_text(Seconds(0)), "0.0 ms");
  EXPECT_EQ(duration_text(Seconds(0.00042)), "0.4 ms");
  EXPECT_EQ(duration_text(Seconds(0.098)), "98 ms");
  EXPECT_EQ(duration_text(Seconds(1.24)), "1.2 s");
  EXPECT_EQ(duration_text(Seconds(45)), "45 s");
  EXPECT_EQ(duration_text(Seconds(136)), "2m 16s");
  EXPECT_EQ(duration_text(Seconds(3600 * 3 + 300)), "3h 05m");
  EXPECT_EQ(duration_text(Seconds(86400.0 * 4 + 3600 * 7)), "4d 07h");
}

// No "60 s", "60m" or "1000 ms" just below a border.
TEST(DurationText, Borders) {
  EXPECT_EQ(duration_text(Seconds(0.00994)), "9.9 ms");
  EXPECT_EQ(duration_text(Seconds(0.00996)), "10 ms");
  EXPECT_EQ(duration_text(Seconds(0.9994)), "999 ms");
  EXPECT_EQ(duration_text(Seconds(0.9996)), "1.0 s");
  EXPECT_EQ(duration_text(Seconds(9.94)), "9.9 s");
  EXPECT_EQ(duration_text(Seconds(9.96)), "10 s");
  EXPECT_EQ(duration_text(Seconds(59.4)), "59 s");
  EXPECT_EQ(duration_text(Seconds(59.6)), "1m 00s");
  EXPECT_EQ(duration_text(Seconds(3599.6)), "1h 00m");
  EXPECT_EQ(duration_text(Seconds(86399.6)), "1d 00h");
}

TEST(DurationText, WhatIsNoDuration) {
  EXPECT_EQ(duration_text(Seconds(-5)), "0.0 ms");
  EXPECT_EQ(duration_text(Seconds(HUGE_VAL)), "?");
  EXPECT_EQ(duration_text(Seconds(std::nan(""))), "?");
}

} // namespace dbops::core
