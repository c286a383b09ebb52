// A WAL file from a store into a file, as restore_command needs it.
#pragma once

#include "core/wal/wal_reader.h"

#include <filesystem>

namespace dbops::core {

// Writes to a temporary name beside `target` and renames it when the content is whole and verified; so `target` is
// never a part of a file. Damage on the way is fetched again, twice. Not fsynced: recovery asks again after a crash.
// `target` is written for WalFetchResult::whole and padded only. Throws what WalReader::fetch() and writing throw.
WalFetchResult fetch_to_file(WalReader& reader, const WalFileName& file, const std::filesystem::path& target,
                             const CallContext& context);

} // namespace dbops::core
