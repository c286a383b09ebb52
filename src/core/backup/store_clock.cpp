#include "core/backup/store_clock.h"

namespace dbops::core {

WallTime stored_until(const BackupRepository& repository, const std::string& name, const CallContext& context) {
  const auto object = repository.store.head(repository.key(name), context);
  return object && object->modified != WallTime() ? object->modified + clock_slack : WallTime::max();
}

} // namespace dbops::core
