#include "core/migrate/statement.h"

#include <gtest/gtest.h>

#include <string>

namespace dbops::core::migrate {

namespace {

std::vector<std::string> texts(std::string_view file) {
  SplitError error;
  const auto found = split(file, true, error);
  if (!found) return {"error at " + std::to_string(error.position) + ": " + std::string(to_string(error.problem))};
  std::vector<std::string> result;
  for (const Statement& statement : *found) {
    EXPECT_EQ(file.substr(statement.position, statement.text.size()), statement.text);
    result.emplace_back(statement.text);
  }
  return result;
}

using Texts = std::vector<std::string>;

SplitProblem problem(std::string_view file) {
  SplitError error;
  EXPECT_FALSE(split(file, true, error)) << file;
  return error.problem;
}

} // namespace

TEST(MigrationStatement, Semicolons) {
  EXPECT_EQ(texts(""), Texts());
  EXPECT_EQ(texts(" ; ;\n; -- x\n /* ; */"), Texts());
  EXPECT_EQ(texts("SELECT 1"), Texts({"SELECT 1"}));
  EXPECT_EQ(texts("\xef\xbb\xbfSELECT 1; SELECT 2 -- end"), Texts({"SELECT 1", "SELECT 2"}));
  EXPECT_EQ(texts("-- first\nSELECT /* a; /* b; */ c; */ 1 -- ;\n + 2;\r\nSELECT 3;"),
            Texts({"SELECT /* a; /* b; */ c; */ 1 -- ;\n + 2", "SELECT 3"}));
}

TEST(MigrationStatement, Quotes) {
  EXPECT_EQ(texts("SELECT ';', 'it''s;', E'\\';', \"a;\"\"b\"; x"),
            Texts({"SELECT ';', 'it''s;', E'\\';', \"a;\"\"b\"", "x"}));
  EXPECT_EQ(texts("SELECT '\\'; x"), Texts({"SELECT '\\'", "x"}));
  EXPECT_EQ(texts("SELECT $$;$a$;$$; x"), Texts({"SELECT $$;$a$;$$", "x"}));
  EXPECT_EQ(texts("SELECT $a$;$$;$b$$a$; x"), Texts({"SELECT $a$;$$;$b$$a$", "x"}));
  EXPECT_EQ(texts("SELECT a$b$c; d$b$"), Texts({"SELECT a$b$c", "d$b$"})); // $ in a name
  EXPECT_EQ(texts("SELECT $1; x"), Texts({"SELECT $1", "x"}));
  EXPECT_EQ(texts("SELECT 1e'"), Texts({"error at 9: unterminated quoted string"}));
  SplitError error;
  EXPECT_EQ(split("SELECT '\\';'; x", false, error)->size(), 2U);
}

TEST(MigrationStatement, ParenthesesAndBodies) {
  EXPECT_EQ(texts("CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2); x"),
            Texts({"CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)", "x"}));
  const std::string body =
      "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
  EXPECT_EQ(texts(body + "; x"), Texts({body, "x"}));
  EXPECT_EQ(texts("BEGIN; SELECT 1; END; x"), Texts({"BEGIN", "SELECT 1", "END", "x"}));
}

TEST(MigrationStatement, CopyData) {
  SplitError error;
  const std::string_view file =
      "COPY t (a, b) FROM stdin WITH (FORMAT csv);\n1,';\n\\N\t2\r\n\\.\nSELECT 1;COPY \"x\" FROM STDIN;\n\\.";
  const auto found = split(file, true, error).value();
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].text, "COPY t (a, b) FROM stdin WITH (FORMAT csv)");
  EXPECT_EQ(found[0].data, "1,';\n\\N\t2\r\n");
  EXPECT_EQ(found[1].text, "SELECT 1");
  EXPECT_FALSE(found[1].data);
  EXPECT_EQ(found[2].data, "");
  EXPECT_EQ(texts("COPY t FROM '/stdin'; x"), Texts({"COPY t FROM '/stdin'", "x"}));
  EXPECT_EQ(texts("COPY (SELECT 1 FROM stdin) TO STDOUT; x"), Texts({"COPY (SELECT 1 FROM stdin) TO STDOUT", "x"}));
  EXPECT_EQ(texts("SELECT copy FROM stdin; x"), Texts({"SELECT copy FROM stdin", "x"}));
  EXPECT_EQ(problem("COPY t FROM stdin;\n1\n"), SplitProblem::unterminated_data);
}

TEST(MigrationStatement, Problems) {
  EXPECT_EQ(problem("SELECT 1;\n\\connect x"), SplitProblem::backslash_command);
  EXPECT_EQ(problem("SELECT 'x"), SplitProblem::unterminated_string);
  EXPECT_EQ(problem("SELECT \"x"), SplitProblem::unterminated_name);
  EXPECT_EQ(problem("SELECT $x$ y"), SplitProblem::unterminated_dollar);
  EXPECT_EQ(problem("SELECT 1 /* /* */"), SplitProblem::unterminated_comment);
  EXPECT_EQ(problem("SELECT (1;"), SplitProblem::unterminated_paren);
}

TEST(MigrationStatement, LineAndColumn) {
  const std::string_view file = "ä b\r\n c";
  EXPECT_EQ(line_column(file, 0).line, 1U);
  EXPECT_EQ(line_column(file, 3).column, 3U); // b, after a character of two bytes
  EXPECT_EQ(line_column(file, 7).line, 2U);
  EXPECT_EQ(line_column(file, 7).column, 2U);
}

TEST(WithoutComments, KeepsPlaces) {
  EXPECT_EQ(without_comments("a -- b\nc /* d /* e */\n */ f", true), "a     \nc             \n    f");
  const std::string quoted = R"('--' "/*" $x$ -- $x$ 1 - -1)";
  EXPECT_EQ(without_comments(quoted, true), quoted);
  EXPECT_EQ(without_comments("a -- b\n 'c", true), "a     \n 'c"); // cannot be cut: what was passed until then
}

} // namespace dbops::core::migrate
