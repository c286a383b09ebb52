#include "core/text/table.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace dbops::core {

namespace {

Table jobs() {
  Table table({{"job", Align::right}, {"target", Align::left, true}, {"state"}});
  table.add_row({{"1"}, {"public.a_table_with_a_long_name"}, {"running"}});
  table.add_row({{"12"}, {"日本"}, {"ok"}});
  return table;
}

std::vector<std::string> text(const Table& table, std::optional<std::size_t> width, Charset charset = Charset::utf8) {
  std::vector<std::string> result;
  for (const Line& line : table.lines(width, charset))
    result.push_back(line.rendered(false));
  return result;
}

} // namespace

TEST(Table, ColumnsAsWideAsTheirText) {
  EXPECT_EQ(text(jobs(), std::nullopt), (std::vector<std::string>{
                                            "job  target                           state",
                                            "  1  public.a_table_with_a_long_name  running",
                                            " 12  日本                             ok",
                                        }));
}

TEST(Table, ShrinksWhatMayShrink) {
  EXPECT_EQ(text(jobs(), 30), (std::vector<std::string>{
                                  "job  target            state",
                                  "  1  public.a_table_…  running",
                                  " 12  日本              ok",
                              }));
}

TEST(Table, ClipsWhatStillDoesNotFit) {
  EXPECT_EQ(text(jobs(), 12, Charset::ascii), (std::vector<std::string>{
                                                  "job  target~",
                                                  "  1  publi~~",
                                                  " 12  日本  ~",
                                              }));
}

TEST(Table, ShrinksTheWidestFirst) {
  Table table({{"a", Align::left, true}, {"b", Align::left, true}});
  table.add_row({{"0123456789"}, {"01234567890123456789"}});
  EXPECT_EQ(text(table, 24)[1], "0123456789  01234567890…");
  EXPECT_EQ(text(table, 18)[1], "0123456…  0123456…");
}

TEST(Table, WithoutRowsHasItsTitles) {
  const Table table({{"a"}, {"b"}});
  EXPECT_TRUE(table.empty());
  EXPECT_EQ(text(table, std::nullopt), std::vector<std::string>{"a  b"});
}

TEST(Table, RowsHaveAsManyCellsAsColumns) {
  Table table({{"a"}, {"b"}});
  EXPECT_THROW(table.add_row({{"1"}}), std::logic_error);
}

} // namespace dbops::core
