// Columns of a terminal that UTF-8 text takes, and cutting and padding it to them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dbops::core {

// Which signs a line may be drawn with.
enum class Charset { utf8, ascii };

enum class Align { left, right };

// East Asian wide characters take two columns, combining ones none; a byte that is not UTF-8 takes one.
std::size_t columns(std::string_view text);

// Text from a database may hold anything. This is one line of it that cannot steer a terminal: white space as blanks,
// control and direction-changing characters and what is not UTF-8 as U+FFFD, or '?' where only ASCII may be drawn.
std::string terminal_text(std::string_view text, Charset charset = Charset::utf8);

// At most `width` columns; where something was cut off, the last column says so ("…", or "~" in ASCII).
std::string clipped(std::string_view text, std::size_t width, Charset charset = Charset::utf8);

// At least `width` columns, filled with blanks on the other side.
std::string padded(std::string_view text, std::size_t width, Align align = Align::left);

} // namespace dbops::core
