// Cutting SQL files into statements the way psql does, without understanding them: quotes, dollar quotes, comments,
// parentheses, SQL function bodies (BEGIN ATOMIC ... END), and the data after COPY ... FROM STDIN.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::core::migrate {

struct Statement {
  std::string_view text;                // from its first token to before the semicolon; views into the file
  std::size_t position = 0;             // byte offset in the file
  std::optional<std::string_view> data; // lines after COPY ... FROM STDIN, without the line \.
};

enum class SplitProblem {
  backslash_command,    // \connect, \i, \set: psql's, not the server's
  unterminated_string,  // '
  unterminated_name,    // "
  unterminated_dollar,  // $tag$
  unterminated_comment, // /*
  unterminated_paren,   // (
  unterminated_data,    // COPY data without \.
};
std::string_view to_string(SplitProblem problem) noexcept;

struct SplitError {
  SplitProblem problem{};
  std::size_t position = 0; // byte offset of where it began
};

// standard_conforming_strings: as the session has it; off, a backslash escapes in '...' too. Empty statements and
// comments alone give none. Nothing when the file cannot be cut: `error` says why then.
std::optional<std::vector<Statement>> split(std::string_view file, bool standard_conforming_strings, SplitError& error);

// The text with its comments blanked: as long, and with the same ends of lines, so that places in it stay the same.
std::string without_comments(std::string_view text, bool standard_conforming_strings);

// Both from 1; the column counts characters of UTF-8.
struct LineColumn {
  std::size_t line = 1;
  std::size_t column = 1;
};
LineColumn line_column(std::string_view file, std::size_t position) noexcept;

} // namespace dbops::core::migrate
