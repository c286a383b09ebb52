// JSON whose strings are in any encoding that contains ASCII. nlohmann-json takes UTF-8 alone, and throws at the rest.
// Here each byte above 127 passes through it as a character of its own, so that the text has the strings' bytes as they
// are: what jsonb takes and gives in a database of any encoding (in all server encodings of PostgreSQL the bytes of a
// character that is not ASCII are above 127: pg_wchar.h).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace dbops::core {

// On one line.
std::string json_text(const nlohmann::json& value);

// Throws nlohmann::json::parse_error.
nlohmann::json parse_json_text(std::string_view text);

} // namespace dbops::core
