// The identity of one running cluster, which a copy of its data directory does not share.
#pragma once

#include "core/base/random.h"

#include <filesystem>
#include <optional>
#include <string>

namespace dbops::core {

// What distinguishes a data directory from every copy of it: inode and time of birth of the directory and of the file
// that holds the identity, and the machine (/etc/machine-id, or the host's name where there is none).
//
// Reads <data directory>/dbops.instance. When it is not there, or was written in another place (pg_basebackup, cp,
// rsync, a snapshot that another machine mounted, pg_rewind), a new identity is chosen and written durably. Processes
// of one cluster may call this at the same time. Throws Error.
std::string instance_identity(const std::filesystem::path& data_directory, Random& random);

// The same, and nothing is written. Absent: the data directory has none, or one of another place.
std::optional<std::string> known_instance_identity(const std::filesystem::path& data_directory);

} // namespace dbops::core
