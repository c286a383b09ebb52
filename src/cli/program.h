// Other programs, run to their end.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dbops::cli {

// words: the program (looked for in PATH when it has no slash) and its arguments. What it prints goes into the file,
// behind what is there. Returns its exit status, 128 and the signal when it died by one. Throws core::Error when it
// cannot be started.
int run_program(const std::vector<std::string>& words, const std::filesystem::path& output);

} // namespace dbops::cli
