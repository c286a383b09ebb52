#include "core/migrate/callback.h"
#include "core/migrate/checksum.h"
#include "core/migrate/file_name.h"
#include "core/migrate/placeholder.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace dbops::core::migrate {

namespace {

Version version(std::string_view text) {
  return Version::parse(text).value();
}

std::string parsed(std::string_view file, const Naming& naming = {}) {
  const ParsedName result = parse_file_name(file, naming);
  if (!result.name) return "- " + std::string(to_string(result.problem));
  const FileName& name = *result.name;
  constexpr const char* kinds[]{"V", "U", "R", "B", "C"};
  return std::string(kinds[static_cast<int>(name.kind)]) + "|" + (name.version ? name.version->text() : name.event) +
         "|" + name.description;
}

} // namespace

TEST(MigrationVersion, Order) {
  EXPECT_EQ(version("1"), version("1.0"));
  EXPECT_EQ(version("1"), version("01"));
  EXPECT_EQ(version("1_2"), version("1.2"));
  EXPECT_EQ(version("0"), version("0.0.0"));
  EXPECT_LT(version("1.9"), version("1.10"));
  EXPECT_LT(version("1"), version("1.0.1"));
  EXPECT_LT(version("9"), version("10"));
  EXPECT_LT(version("99999999999999999999999"), version("100000000000000000000000"));
  EXPECT_LT(version("20260101"), version("20260102.1"));
  EXPECT_EQ(version("1_0").text(), "1.0");
}

TEST(MigrationVersion, NotVersions) {
  for (const char* text : {"", ".", "1.", ".1", "1..2", "a", "1a", "1.a", "-1", "+1", "1 ", "1__2", "１"})
    EXPECT_FALSE(Version::parse(text)) << text;
}

TEST(MigrationFileName, FlywaysGrammar) {
  EXPECT_EQ(parsed("V1__Create_users.sql"), "V|1|Create users");
  EXPECT_EQ(parsed("V1_2_3__x.sql"), "V|1.2.3|x");
  EXPECT_EQ(parsed("V1.SQL"), "V|1|");
  EXPECT_EQ(parsed("V1__.sql"), "V|1|");
  EXPECT_EQ(parsed("V1__a__b.sql"), "V|1|a  b");
  EXPECT_EQ(parsed("U1__x.sql"), "U|1|x");
  EXPECT_EQ(parsed("B7__x.sql"), "B|7|x");
  EXPECT_EQ(parsed("R__All_views.sql"), "R||All views");
  EXPECT_EQ(parsed("beforeMigrate__x.sql"), "C|beforeMigrate|x");
  EXPECT_EQ(parsed("beforeMigrate.sql"), "C|beforeMigrate|");
  EXPECT_EQ(parsed("afterMigrateApplied__x.sql"), "C|afterMigrateApplied|x"); // the longest prefix
}

TEST(MigrationFileName, NotMigrations) {
  for (const char* file : {"README.md", "V1__x.sql.conf", "V1__x.txt", "setup.sql", "v1__x.sql", "V__x.sql",
                           "Vacation.sql", "V1a__x.sql", "R1__x.sql", "Rfoo.sql", "beforeMigrate1.sql", ".sql", ""})
    EXPECT_EQ(parsed(file).substr(0, 1), "-") << file;
}

TEST(MigrationFileName, NamedLikeCallbacks) {
  const auto problem = [](std::string_view file) { return parse_file_name(file, {}).problem; };
  for (const char* file : {"beforeMigrat__x.sql", "beforemigrate.sql", "BeforeMigrate__x.sql", "afterMigrate2__x.sql",
                           "beforeDeploy__x.sql", "afterEachMigrateStatment__x.sql"})
    EXPECT_EQ(problem(file), NameProblem::unknown_event) << file;
  for (const char* file : {"beforeClean__x.sql", "createSchema.sql", "beforeConnect__x.sql"})
    EXPECT_EQ(problem(file), NameProblem::absent_event) << file;
  for (const char* file : {"afterthought.sql", "before_release.sql", "before.sql", "setup.sql", "Vacation.sql"})
    EXPECT_NE(problem(file), NameProblem::unknown_event) << file;
  EXPECT_EQ(parse_file_name("beforeMigrat__x.sql", {}).event, "beforeMigrat");
  EXPECT_TRUE(explain_event("beforeMigrat").starts_with("is it beforeMigrate? There are beforeMigrate "));
  EXPECT_TRUE(explain_event("beforeDeploy").starts_with("There are "));
  EXPECT_EQ(event_mistake(std::string(1000, 'b')), EventMistake::none);
}

TEST(MigrationFileName, OtherPrefixes) {
  Naming naming;
  naming.versioned = "m";
  naming.separator = "--";
  naming.suffixes = {".psql", ".sql"};
  EXPECT_EQ(parsed("m1_2--x_y.psql", naming), "V|1.2|x y");
  EXPECT_EQ(parsed("m1--x.sql", naming), "V|1|x");
  EXPECT_EQ(parsed("V1--x.sql", naming).substr(0, 1), "-");
}

// https://github.com/flyway/flyway/issues/2474: what Flyway 3 and 6 wrote for the same file.
TEST(MigrationChecksum, OfFlyway) {
  const std::string line = "alter table location_history add column valid_until timestamp with time zone;";
  EXPECT_EQ(line_checksum(line + "\n"), -1039259818);
  EXPECT_EQ(byte_checksum(line + "\n"), -1340212107);
  EXPECT_EQ(line_checksum(line), -1039259818);
}

TEST(MigrationChecksum, LineEndingsAndByteOrderMark) {
  EXPECT_EQ(line_checksum(""), 0);
  EXPECT_EQ(line_checksum("\xef\xbb\xbf"), 0);
  EXPECT_EQ(line_checksum("a\nb"), line_checksum("a\r\nb\r\n"));
  EXPECT_EQ(line_checksum("a\rb"), line_checksum("a\n\nb"));
  EXPECT_EQ(line_checksum("\xef\xbb\xbf"
                          "a"),
            line_checksum("a"));
  EXPECT_NE(line_checksum("a\n\xef\xbb\xbf"), line_checksum("a"));
  EXPECT_NE(line_checksum("a "), line_checksum("a"));
}

TEST(MigrationChecksum, Utf8) {
  EXPECT_FALSE(invalid_utf8("abc äöü € 😀"));
  EXPECT_EQ(invalid_utf8("ab\xff"), 2U);
  EXPECT_EQ(invalid_utf8("ab\xc3"), 2U);
  EXPECT_EQ(invalid_utf8("\xc0\x80"), 0U);         // overlong
  EXPECT_EQ(invalid_utf8("\xed\xa0\x80"), 0U);     // surrogate
  EXPECT_EQ(invalid_utf8("\xf4\x90\x80\x80"), 0U); // beyond U+10FFFF
  EXPECT_EQ(invalid_utf8(std::string_view("a\0b", 3)), 1U);
}

TEST(MigrationFileName, OrderOfJava) {
  std::vector<std::string> names{
      "\xef\xbc\xa1", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xee\x80\x80", "Z", "a", "10", "9", "", "Z "};
  std::sort(names.begin(), names.end(), ByUtf16());
  EXPECT_EQ(names, (std::vector<std::string>{"", "10", "9", "Z", "Z ", "a", "\xed\x9f\xbf", "\xf0\x9f\x98\x80",
                                             "\xee\x80\x80", "\xef\xbc\xa1"}));
}

TEST(MigrationPlaceholder, Replace) {
  const Placeholders values{{"Schema", "app"}, {"flyway:user", "ann"}};
  UnknownPlaceholder unknown;
  EXPECT_EQ(replace_placeholders("CREATE TABLE ${schema}.t; -- ${FLYWAY:USER}", values, unknown),
            "CREATE TABLE app.t; -- ann");
  EXPECT_EQ(replace_placeholders("'$1' $$ { $", values, unknown), "'$1' $$ { $");
  // Each of these is what Flyway 13 does: test/peers/flyway/placeholders_replaced.
  EXPECT_EQ(replace_placeholders("$${schema} $$${schema}$$ }${schema}${schema}{", values, unknown),
            "$${schema} $$app$$ }appapp{");
  EXPECT_FALSE(replace_placeholders("'$1' $$ ${ no end", values, unknown));
  EXPECT_EQ(unknown.position, 8U);
  EXPECT_FALSE(replace_placeholders("${ schema }", values, unknown));
  EXPECT_FALSE(replace_placeholders("${}", values, unknown));
  EXPECT_EQ(replace_placeholders("", values, unknown), "");
  EXPECT_FALSE(replace_placeholders("x ${other} y", values, unknown));
  EXPECT_EQ(unknown.position, 2U);
  EXPECT_EQ(unknown.name, "other");
}

} // namespace dbops::core::migrate
