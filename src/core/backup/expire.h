// Removes backups that are not to be kept, and what only they needed.
#pragma once

#include "core/backup/catalogue.h"
#include "core/backup/retention.h"
#include "core/base/log.h"

namespace dbops::core {

struct ExpireResult {
  RetentionPlan plan;
  std::uint64_t backups = 0;    // removed, or that would be
  std::uint64_t unfinished = 0; // begun long ago, and not finished
  std::uint64_t packs = 0, pack_bytes = 0;
  std::uint64_t wal_objects = 0, wal_bytes = 0;
};

// Removes nothing when dry_run. Removing goes: packs are listed, then backups; manifests of backups that are not kept
// are removed first, so that no half of a backup looks like one, then their lists, then packs that no other backup
// refers to, then WAL. It may be interrupted anywhere: the next call goes on. While a backup runs, packs that no backup
// refers to are left alone, and WAL of each timeline from its last finished backup on: they may be its.
//
// Time is what the store's clock tells as well: a clock of this machine or of the server that is ahead of it expires
// nothing. What is known to be damaged is no reason to remove what is not.
//
// Throws Error: key_missing, key_wrong, configuration and corrupt when a manifest that is to be kept cannot be read
// (what it needs is not known then, and nothing is removed); what ObjectStore throws.
ExpireResult expire(const BackupRepository& repository, const RetentionRules& rules, bool dry_run, const LogSink& log,
                    const CallContext& context);

} // namespace dbops::core
