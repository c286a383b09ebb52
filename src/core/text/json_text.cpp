#include "core/text/json_text.h"

#include <algorithm>

namespace dbops::core {

namespace {

using nlohmann::json;

bool is_ascii(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) > 127; });
}

// Byte n as the character U+00n, in UTF-8.
std::string bytes_as_characters(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 127) {
      text += c;
      continue;
    }
    text += static_cast<char>(0xC0 | (byte >> 6));
    text += static_cast<char>(0x80 | (byte & 0x3F));
  }
  return text;
}

// The way back. What is not such a character (it can only come from a \u escape) stays as it is.
std::string characters_as_bytes(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if ((lead == 0xC2 || lead == 0xC3) && i + 1 < text.size())
      bytes += static_cast<char>((lead << 6) | (static_cast<unsigned char>(text[++i]) & 0x3F));
    else
      bytes += text[i];
  }
  return bytes;
}

// Every string and name in it, changed by that function.
template <typename F>
json with_strings(const json& value, F&& change) {
  if (value.is_string()) return change(value.get_ref<const std::string&>());
  if (value.is_array()) {
    json out = json::array();
    for (const json& element : value)
      out.push_back(with_strings(element, change));
    return out;
  }
  if (value.is_object()) {
    json out = json::object();
    for (const auto& [name, element] : value.items())
      out[change(name)] = with_strings(element, change);
    return out;
  }
  return value;
}

} // namespace

std::string json_text(const json& value) {
  return characters_as_bytes(with_strings(value, bytes_as_characters).dump());
}

json parse_json_text(std::string_view text) {
  if (is_ascii(text)) return json::parse(text);
  return with_strings(json::parse(bytes_as_characters(text)), characters_as_bytes);
}

} // namespace dbops::core
