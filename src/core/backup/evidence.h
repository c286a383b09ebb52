// What drills and verifications have found: small objects in the store, one a time, never changed.
#pragma once

#include "core/backup/manifest_store.h"

#include <map>
#include <optional>
#include <set>
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
  WallTime at = {}; // when it ended, by a clock that may have been wrong
  bool deep = false;
  // Labels of the backups that it found nothing wrong with, and dump_prefix() of such dumps.
  std::vector<std::string> whole = {};
  // The same of those that are damaged, and what is wrong with them, for people.
  std::map<std::string, std::string> damaged = {};
  // Greater than that of any record before, whatever the clock says: its name begins with it. Absent: as `at`.
  std::optional<WallTime> order = {};
};

// Damage of a backup that no later verification has found to be gone; one that was found by reading needs another
// reading.
struct FoundDamage {
  WallTime at = {};
  bool deep = false;
  std::string what = {};
};
std::string describe(const FoundDamage& damage);

// When each backup, by label, was last found to be whole, and last restored by a drill that succeeded; and which of
// them are damaged.
struct Proofs {
  std::map<std::string, WallTime> verified = {}, verified_deep = {}, drilled = {};
  std::map<std::string, FoundDamage> damaged = {};
};

// Drills in any order; verifications in that of their names: what the last one says holds.
Proofs proofs_of(const std::vector<DrillRecord>& drills, const std::vector<VerifyRecord>& verifications);
// Absent: never.
std::optional<WallTime> time_in(const std::map<std::string, WallTime>& times, const std::string& label);

std::string encode_drill(const DrillRecord& record);
// Both throw Error(corrupt).
DrillRecord decode_drill(std::string_view json);
std::string encode_verification(const VerifyRecord& record);
VerifyRecord decode_verification(std::string_view json);

// "drill/20261121T143000Z-3f09a1b2.json": two may happen in one second.
void put_drill(const BackupRepository& repository, const DrillRecord& record, const CallContext& context);
void put_verification(const BackupRepository& repository, const VerifyRecord& record, const CallContext& context);

// For expiry: removes records of verifications that tell nothing any more, since later ones found the same backups
// whole. The last one stays, and so do drills, and what is the last to be known of damage.
// backups: labels of those that there are, and dump_prefix() of the dumps.
void forget_verifications(const BackupRepository& repository, const std::set<std::string>& backups,
                          const CallContext& context);

} // namespace dbops::core
