// A line of text with styles, laid out before anybody knows whether colours can be shown.
#pragma once

#include "core/text/columns.h"

#include <string>
#include <vector>

namespace dbops::core {

enum class Style { plain, strong, faint, active, good, warning, bad };

struct Span {
  std::string text; // terminal_text(): no control characters
  Style style = Style::plain;
};

class Line {
 public:
  Line() = default;
  Line(std::initializer_list<Span> spans) : spans_(spans) {}
  Line& add(std::string text, Style style = Style::plain);

  [[nodiscard]] bool empty() const noexcept { return spans_.empty(); }
  [[nodiscard]] std::size_t columns() const;
  // At most `width` columns; a span that was cut ends in the sign of clipped().
  [[nodiscard]] Line clipped(std::size_t width, Charset charset) const;
  // colour: with SGR sequences (ECMA-48, 8.3.117), otherwise the text alone. Without an end of line.
  [[nodiscard]] std::string rendered(bool colour) const;

 private:
  std::vector<Span> spans_;
};

} // namespace dbops::core
