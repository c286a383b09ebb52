// dbops list: the backups in a store, or the moments that they lead back to
#pragma once

#include "cli/stores.h"

namespace dbops::cli {

struct ListCommand {
  StoreSettings stores;
  bool windows = false, json = false;
};

int run(const ListCommand& command);

} // namespace dbops::cli
