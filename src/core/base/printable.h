// Text from outside for a message: a store's error, the origin in an object's header.
#pragma once

#include <string>
#include <string_view>

namespace dbops::core {

// Control characters become "?", so that it stays one line; at most `limit` bytes, then "...".
std::string printable(std::string_view text, std::size_t limit = 500);

} // namespace dbops::core
