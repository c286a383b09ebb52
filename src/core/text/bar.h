// A progress bar of text.
#pragma once

#include "core/text/columns.h"

#include <cstddef>
#include <string>

namespace dbops::core {

// Exactly `width` columns, ends included; nothing below 3. UTF-8 bars grow by an eighth of a column. Only a fraction of
// 1 or more fills the bar; what is not a number is 0.
std::string progress_bar(double fraction, std::size_t width, Charset charset);

} // namespace dbops::core
