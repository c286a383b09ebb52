// dbops list: the backups in a store
#pragma once

#include "cli/stores.h"

namespace dbops::cli {

struct ListCommand {
  StoreSettings stores;
  bool json = false;
};

int run(const ListCommand& command);

} // namespace dbops::cli
