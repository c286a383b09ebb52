// One backup of a server at a time, whoever takes it: the command line or a job.
#pragma once

#include "core/base/file.h"

#include <filesystem>

namespace dbops::core {

// Held as long as the file is open, and gone with its process. Throws Error(conflict) when somebody else has it.
File lock_for_backup(const std::filesystem::path& data_directory);

} // namespace dbops::core
