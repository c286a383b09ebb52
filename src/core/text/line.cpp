#include "core/text/line.h"

#include <string_view>

namespace dbops::core {

namespace {

// Parameters of SGR. The eight basic colours: each terminal's user has made them readable on his background.
std::string_view sgr(Style style) {
  switch (style) {
  case Style::plain:
    return "";
  case Style::strong:
    return "1";
  case Style::faint:
    return "2";
  case Style::active:
    return "36";
  case Style::good:
    return "32";
  case Style::warning:
    return "33";
  case Style::bad:
    return "31";
  }
  return "";
}

} // namespace

Line& Line::add(std::string text, Style style) {
  spans_.push_back({std::move(text), style});
  return *this;
}

std::size_t Line::columns() const {
  std::size_t sum = 0;
  for (const Span& span : spans_)
    sum += core::columns(span.text);
  return sum;
}

Line Line::clipped(std::size_t width, Charset charset) const {
  if (columns() <= width) return *this;
  Line result;
  std::size_t room = width;
  for (const Span& span : spans_) {
    const std::size_t needed = core::columns(span.text);
    if (needed < room) {
      result.spans_.push_back(span);
      room -= needed;
      continue;
    }
    // More follows, or this one is too long: a blank too much makes clipped() put its sign.
    result.add(core::clipped(span.text + std::string(room + 1 - std::min(room, needed), ' '), room, charset),
               span.style);
    break;
  }
  return result;
}

std::string Line::rendered(bool colour) const {
  std::string result;
  for (const Span& span : spans_) {
    const std::string_view parameters = colour ? sgr(span.style) : "";
    if (!parameters.empty()) result.append("\x1b[").append(parameters).append("m");
    result += span.text;
    if (!parameters.empty()) result += "\x1b[0m";
  }
  return result;
}

} // namespace dbops::core
