// What drills and verifications have found: small objects in the store, one a time, never changed.
#pragma once

#include "core/backup/manifest_store.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dbops::core {

struct DrillRecord {
  WallTime at = {};        // when it began
  std::string backup = {}; // label; empty: it did not come that far
  std::optional<std::string> target_time = {};
  bool succeeded = false;
  double rto_seconds = 0;        // until the restored server answered; 0: it never did
  std::string recovered_to = {}; // LSN
  std::vector<std::pair<std::string, double>> phases = {};
  std::string failure = {}; // empty: none
};

struct VerifyRecord {
  WallTime at = {}; // when it ended
  bool deep = false;
  std::vector<std::string> whole = {}; // labels of the backups that it found nothing wrong with
};

std::string encode_drill(const DrillRecord& record);
// Both throw Error(corrupt).
DrillRecord decode_drill(std::string_view json);
std::string encode_verification(const VerifyRecord& record);
VerifyRecord decode_verification(std::string_view json);

// "drill/20261121T143000Z-3f09a1b2.json": two may happen in one second.
void put_drill(const BackupRepository& repository, const DrillRecord& record, const CallContext& context);
void put_verification(const BackupRepository& repository, const VerifyRecord& record, const CallContext& context);

} // namespace dbops::core
