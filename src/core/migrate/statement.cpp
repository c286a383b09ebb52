#include "core/migrate/statement.h"

#include <algorithm>
#include <array>

namespace dbops::core::migrate {

namespace {

bool is_space(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
// ident_start and ident_cont of scan.l: bytes above ASCII belong to names.
bool is_name_start(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_name_part(char c) noexcept {
  return is_name_start(c) || is_digit(c) || c == '$';
}

bool is_word(std::string_view text, std::string_view lower) noexcept {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b; });
}

// A failure to be carried to the one place that reports it.
struct Failure {
  SplitError error;
};

class Splitter {
 public:
  Splitter(std::string_view file, bool standard_strings) : file_(file), standard_strings_(standard_strings) {}

  std::vector<Statement> run() {
    while (at_ < file_.size())
      step();
    if (parens_ > 0 && begin_) throw Failure{{SplitProblem::unterminated_paren, paren_at_}};
    finish(at_);
    return std::move(found_);
  }

  // Begin and end of those that were passed so far.
  [[nodiscard]] const std::vector<std::pair<std::size_t, std::size_t>>& comments() const noexcept { return comments_; }

 private:
  std::string_view file_;
  bool standard_strings_;
  std::size_t at_ = 0;
  std::vector<Statement> found_;
  std::vector<std::pair<std::size_t, std::size_t>> comments_;
  std::optional<std::size_t> begin_; // of the statement under way
  std::size_t end_ = 0;              // after its last token
  int parens_ = 0;
  std::size_t paren_at_ = 0;
  // As psqlscan.l: the first words of the statement, and how deep it is in BEGIN ... END of a SQL function.
  std::array<char, 4> first_words_{};
  int words_ = 0;
  int begin_depth_ = 0;
  // COPY ... FROM STDIN, seen word by word outside of parentheses.
  enum class Copy { no, copy, from, standard_input } copy_ = Copy::no;

  [[nodiscard]] char peek(std::size_t offset = 0) const noexcept {
    return at_ + offset < file_.size() ? file_[at_ + offset] : '\0';
  }

  void token(std::size_t begin) {
    if (!begin_) begin_ = begin;
    end_ = at_;
  }

  void step() {
    const char c = peek();
    const std::size_t begin = at_;
    if (is_space(c) || (c == '\xef' && begin == 0 && file_.starts_with("\xef\xbb\xbf"))) {
      at_ += is_space(c) ? 1 : 3;
      return;
    }
    if (c == '-' && peek(1) == '-') return line_comment();
    if (c == '/' && peek(1) == '*') return block_comment();
    if (c == ';' && parens_ == 0 && begin_depth_ == 0) {
      finish(at_);
      ++at_;
      if (copy_ == Copy::standard_input) copy_data();
      reset();
      return;
    }
    if (c == '\\') throw Failure{{SplitProblem::backslash_command, begin}};
    if (c == '\'')
      quoted(SplitProblem::unterminated_string, !standard_strings_);
    else if (c == '"')
      quoted(SplitProblem::unterminated_name, false);
    else if (c == '$')
      dollar();
    else if (is_name_start(c))
      word();
    else if (is_digit(c))
      number();
    else {
      ++at_;
      if (c == '(') {
        if (parens_++ == 0) paren_at_ = begin;
      } else if (c == ')' && parens_ > 0)
        --parens_;
    }
    token(begin);
  }

  void reset() {
    begin_.reset();
    parens_ = 0;
    words_ = 0;
    begin_depth_ = 0;
    first_words_ = {};
    copy_ = Copy::no;
  }

  void finish(std::size_t) {
    if (begin_) found_.push_back({file_.substr(*begin_, end_ - *begin_), *begin_, std::nullopt});
  }

  void line_comment() {
    const std::size_t end = std::min(file_.find_first_of("\r\n", at_), file_.size());
    comments_.emplace_back(at_, end);
    at_ = end;
  }

  void block_comment() {
    const std::size_t begin = at_;
    int depth = 0;
    while (at_ < file_.size()) {
      if (peek() == '/' && peek(1) == '*') {
        ++depth;
        at_ += 2;
      } else if (peek() == '*' && peek(1) == '/') {
        at_ += 2;
        if (--depth == 0) {
          comments_.emplace_back(begin, at_);
          return;
        }
      } else
        ++at_;
    }
    throw Failure{{SplitProblem::unterminated_comment, begin}};
  }

  // At the opening quote.
  void quoted(SplitProblem problem, bool escapes) {
    const std::size_t begin = at_;
    const char quote = peek();
    for (++at_; at_ < file_.size(); ++at_) {
      if (escapes && peek() == '\\' && at_ + 1 < file_.size())
        ++at_;
      else if (peek() == quote) {
        if (peek(1) != quote) {
          ++at_;
          return;
        }
        ++at_;
      }
    }
    throw Failure{{problem, begin}};
  }

  void dollar() {
    const std::size_t begin = at_;
    std::size_t end = at_ + 1;
    if (end < file_.size() && is_name_start(file_[end]))
      while (end < file_.size() && (is_name_start(file_[end]) || is_digit(file_[end])))
        ++end;
    if (end >= file_.size() || file_[end] != '$') { // a parameter, or an operator that the server will not know
      ++at_;
      return;
    }
    const std::string_view tag = file_.substr(begin, end + 1 - begin);
    const std::size_t close = file_.find(tag, end + 1);
    if (close == std::string_view::npos) throw Failure{{SplitProblem::unterminated_dollar, begin}};
    at_ = close + tag.size();
  }

  void number() {
    while (at_ < file_.size() && (is_name_part(peek()) || peek() == '.'))
      ++at_;
  }

  void word() {
    const std::size_t begin = at_;
    while (at_ < file_.size() && is_name_part(peek()))
      ++at_;
    const std::string_view text = file_.substr(begin, at_ - begin);
    // E'...', and a quote that follows U& or N, B, X is an ordinary one.
    if (peek() == '\'' && is_word(text, "e")) return quoted(SplitProblem::unterminated_string, true);
    note_function_body(text);
    if (parens_ == 0) note_copy(text);
  }

  // psqlscan.l, identifier: only in CREATE [OR REPLACE] {FUNCTION | PROCEDURE} is BEGIN more than a word.
  void note_function_body(std::string_view text) {
    if (words_ == 0) first_words_ = {};
    constexpr std::array<std::pair<std::string_view, char>, 5> known{
        {{"create", 'c'}, {"function", 'f'}, {"procedure", 'p'}, {"or", 'o'}, {"replace", 'r'}}};
    if (words_ < 4)
      for (const auto& [name, letter] : known)
        if (is_word(text, name)) first_words_[static_cast<std::size_t>(words_)] = letter;
    ++words_;
    const auto routine = [](char c) { return c == 'f' || c == 'p'; };
    const bool body =
        first_words_[0] == 'c' &&
        (routine(first_words_[1]) || (first_words_[1] == 'o' && first_words_[2] == 'r' && routine(first_words_[3])));
    if (!body || parens_ > 0) return;
    if (is_word(text, "begin"))
      ++begin_depth_;
    else if (is_word(text, "case") && begin_depth_ >= 1)
      ++begin_depth_;
    else if (is_word(text, "end") && begin_depth_ > 0)
      --begin_depth_;
  }

  void note_copy(std::string_view text) {
    if (words_ == 1)
      copy_ = is_word(text, "copy") ? Copy::copy : Copy::no;
    else if (copy_ == Copy::copy && is_word(text, "from"))
      copy_ = Copy::from;
    else if (copy_ == Copy::from)
      copy_ = is_word(text, "stdin") ? Copy::standard_input : Copy::no;
  }

  // After the semicolon: the rest of the line, then the data up to a line that is \. alone.
  void copy_data() {
    const std::size_t begin = at_;
    while (at_ < file_.size() && is_space(peek()) && peek() != '\n')
      ++at_;
    if (peek() == '\n') ++at_;
    const std::size_t data = at_;
    while (at_ < file_.size()) {
      const std::size_t end = std::min(file_.find('\n', at_), file_.size());
      std::string_view line = file_.substr(at_, end - at_);
      if (line.ends_with('\r')) line.remove_suffix(1);
      const std::size_t line_begin = at_;
      at_ = std::min(end + 1, file_.size());
      if (line == "\\.") {
        found_.back().data = file_.substr(data, line_begin - data);
        return;
      }
    }
    throw Failure{{SplitProblem::unterminated_data, begin}};
  }
};

} // namespace

std::string_view to_string(SplitProblem problem) noexcept {
  switch (problem) {
  case SplitProblem::backslash_command:
    return "a backslash command of psql, or a stray backslash";
  case SplitProblem::unterminated_string:
    return "unterminated quoted string";
  case SplitProblem::unterminated_name:
    return "unterminated quoted identifier";
  case SplitProblem::unterminated_dollar:
    return "unterminated dollar-quoted string";
  case SplitProblem::unterminated_comment:
    return "unterminated /* comment";
  case SplitProblem::unterminated_paren:
    return "unclosed parenthesis";
  case SplitProblem::unterminated_data:
    return "the data of COPY ... FROM STDIN has no line \\. at its end";
  }
  return "";
}

std::optional<std::vector<Statement>> split(std::string_view file, bool standard_conforming_strings,
                                            SplitError& error) {
  try {
    return Splitter(file, standard_conforming_strings).run();
  } catch (const Failure& failure) {
    error = failure.error;
    return std::nullopt;
  }
}

std::string without_comments(std::string_view text, bool standard_conforming_strings) {
  std::string result(text);
  Splitter splitter(text, standard_conforming_strings);
  try {
    (void)splitter.run();
  } catch (const Failure&) { // what was passed until then
  }
  for (const auto& [begin, end] : splitter.comments())
    for (std::size_t i = begin; i < end; ++i)
      if (result[i] != '\n' && result[i] != '\r') result[i] = ' ';
  return result;
}

LineColumn line_column(std::string_view file, std::size_t position) noexcept {
  LineColumn result;
  for (std::size_t i = 0; i < std::min(position, file.size()); ++i) {
    const auto byte = static_cast<unsigned char>(file[i]);
    if (byte == '\n') {
      ++result.line;
      result.column = 1;
    } else if ((byte & 0xc0U) != 0x80U)
      ++result.column;
  }
  return result;
}

} // namespace dbops::core::migrate
