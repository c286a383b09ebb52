// The store's clock beside our own, for what is removed by age: a leap of one clock alone must remove nothing.
#pragma once

#include "core/backup/manifest_store.h"

namespace dbops::core {

// By which the clocks of servers, of this machine and of the store may differ.
constexpr auto clock_slack = std::chrono::hours(1);

// When the object was stored at the latest. The greatest time: it is not there, or the store does not tell.
WallTime stored_until(const BackupRepository& repository, const std::string& name, const CallContext& context);

} // namespace dbops::core
