// dbops expire: removes backups that are not to be kept
#pragma once

#include "cli/stores.h"
#include "core/backup/retention.h"

namespace dbops::cli {

struct ExpireCommand {
  StoreSettings stores;
  core::RetentionRules rules;
  std::string pitr_window; // "14 days"; empty: none
  bool dry_run = false, json = false;
};

int run(const ExpireCommand& command);

// "14 days", "36h", "2w"; absent: not a duration
std::optional<std::chrono::seconds> parse_window(std::string_view text);

} // namespace dbops::cli
