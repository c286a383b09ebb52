// The part of XML that S3 answers with: elements, text, character references. No DTD, no entities of its own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dbops::core {

struct XmlElement {
  std::string name; // without its namespace prefix
  std::string text; // of the element itself, references decoded
  std::vector<XmlElement> children;

  // First child of that name, or null.
  [[nodiscard]] const XmlElement* child(std::string_view child_name) const;
  // Its text, or nothing.
  [[nodiscard]] std::string child_text(std::string_view child_name) const;
};

// The root element. Throws Error(corrupt) for what is not well-formed, for a DTD, and for more than 16 levels.
XmlElement parse_xml(std::string_view text);

} // namespace dbops::core
