#include "core/store/xml.h"

#include "core/base/error.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <utility>

namespace dbops::core {

namespace {

constexpr int max_depth = 16;
constexpr std::string_view blanks = " \t\r\n";

[[noreturn]] void malformed(const char* what) {
  throw Error(ErrorKind::corrupt, std::string("malformed XML in the store's answer: ") + what);
}

void append_utf8(std::string& to, std::uint32_t code) {
  if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
    malformed("a reference to a character that does not exist");
  const auto byte = [&](std::uint32_t value) { to += char(value); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xc0 | code >> 6);
    byte(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    byte(0xe0 | code >> 12);
    byte(0x80 | (code >> 6 & 0x3f));
    byte(0x80 | (code & 0x3f));
  } else {
    byte(0xf0 | code >> 18);
    byte(0x80 | (code >> 12 & 0x3f));
    byte(0x80 | (code >> 6 & 0x3f));
    byte(0x80 | (code & 0x3f));
  }
}

void append_reference(std::string& to, std::string_view name) {
  constexpr std::pair<std::string_view, char> predefined[] = {
      {"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};
  for (const auto& [known, character] : predefined)
    if (name == known) {
      to += character;
      return;
    }
  if (!name.starts_with('#')) malformed("an unknown entity");
  const bool hexadecimal = name.starts_with("#x");
  const std::string_view digits = name.substr(hexadecimal ? 2 : 1);
  std::uint32_t code = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, hexadecimal ? 16 : 10);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size())
    malformed("a bad character reference");
  append_utf8(to, code);
}

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  XmlElement document() {
    if (rest_.starts_with("\xef\xbb\xbf")) rest_.remove_prefix(3);
    skip_between();
    XmlElement root = element(1);
    skip_between();
    if (!rest_.empty()) malformed("text behind the root element");
    return root;
  }

 private:
  // Everything up to `end`, which is skipped.
  std::string_view until(std::string_view end) {
    const auto position = rest_.find(end);
    if (position == std::string_view::npos) malformed("it is cut short");
    const std::string_view before = rest_.substr(0, position);
    rest_.remove_prefix(position + end.size());
    return before;
  }

  bool skip_comment_or_instruction() {
    if (rest_.starts_with("<!--"))
      until("-->");
    else if (rest_.starts_with("<?"))
      until("?>");
    else
      return false;
    return true;
  }

  void skip_between() {
    do
      rest_.remove_prefix(std::min(rest_.find_first_not_of(blanks), rest_.size()));
    while (skip_comment_or_instruction());
  }

  // The inside of a start tag up to its ">", which may stand in a quoted attribute value.
  std::string_view start_tag() {
    char quote = '\0';
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (quote != '\0') {
        quote = c == quote ? '\0' : quote;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '>') {
        const std::string_view tag = rest_.substr(0, i);
        rest_.remove_prefix(i + 1);
        return tag;
      }
    }
    malformed("a tag is cut short");
  }

  XmlElement element(int depth) {
    if (depth > max_depth) malformed("too many levels");
    if (rest_.size() < 2 || rest_[0] != '<' || rest_[1] == '!' || rest_[1] == '/')
      malformed("no element where one must be");
    rest_.remove_prefix(1);
    std::string_view tag = start_tag();
    const bool empty = tag.ends_with('/');
    if (empty) tag.remove_suffix(1);
    const std::string_view qualified = tag.substr(0, tag.find_first_of(blanks));
    if (qualified.empty()) malformed("an element without a name");
    XmlElement result;
    const auto colon = qualified.find(':');
    result.name = qualified.substr(colon == std::string_view::npos ? 0 : colon + 1);
    if (!empty) content(result, qualified, depth);
    return result;
  }

  void content(XmlElement& parent, std::string_view qualified, int depth) {
    for (;;) {
      text(parent.text);
      if (rest_.starts_with("</")) {
        rest_.remove_prefix(2);
        std::string_view name = until(">");
        name = name.substr(0, name.find_last_not_of(blanks) + 1);
        if (name != qualified) malformed("tags do not match");
        return;
      }
      if (rest_.starts_with("<![CDATA[")) {
        rest_.remove_prefix(9);
        parent.text += until("]]>");
      } else if (!skip_comment_or_instruction()) {
        parent.children.push_back(element(depth + 1));
      }
    }
  }

  void text(std::string& to) {
    while (!rest_.empty() && rest_.front() != '<') {
      const auto end = std::min(rest_.find_first_of("<&"), rest_.size());
      to += rest_.substr(0, end);
      rest_.remove_prefix(end);
      if (rest_.starts_with('&')) {
        rest_.remove_prefix(1);
        append_reference(to, until(";"));
      }
    }
    if (rest_.empty()) malformed("it is cut short");
  }

  std::string_view rest_;
};

} // namespace

const XmlElement* XmlElement::child(std::string_view child_name) const {
  for (const XmlElement& element : children)
    if (element.name == child_name) return &element;
  return nullptr;
}

std::string XmlElement::child_text(std::string_view child_name) const {
  const XmlElement* const element = child(child_name);
  return element == nullptr ? std::string() : element->text;
}

XmlElement parse_xml(std::string_view text) {
  return Parser(text).document();
}

} // namespace dbops::core
