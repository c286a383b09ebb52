// Packs of which it is known that they cannot be relied on: a backup does not refer to them, and stores their blocks
// again.
#pragma once

#include "core/backup/manifest_store.h"

namespace dbops::core {

// "damaged/3f09...": created when a pack is found to be damaged or missing.
std::string damaged_key(const PackId& id);
// Sorted.
std::vector<PackId> damaged_packs(const BackupRepository& repository, const CallContext& context);

} // namespace dbops::core
