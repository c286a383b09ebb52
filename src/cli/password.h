// Asking for a password on the terminal.
#pragma once

#include "core/crypto/secret.h"

#include <optional>
#include <string>

namespace dbops::cli {

// From the controlling terminal, not standard input, without echo. Absent when there is none, or nothing was typed.
std::optional<core::Secret> ask_password(const std::string& prompt);

} // namespace dbops::cli
