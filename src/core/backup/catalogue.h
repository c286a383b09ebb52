// What backups a store has, and which of them leads to a recovery target.
#pragma once

#include "core/backup/manifest_store.h"
#include "core/base/error.h"

#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

struct CatalogueEntry {
  std::string label;
  std::optional<BackupHead> head = {}; // absent: not finished, or not readable
  std::string problem = {};            // why it is not readable, or lost; empty: it was not finished
  // The problem is one of the key file alone: key_missing or key_wrong. And what to do about it.
  std::optional<ErrorKind> key_problem = {};
  std::string hint = {};
};

// Whether an error says nothing of the object, but of the keys that were given: that headers are whole was checked
// before (docs/format.md).
[[nodiscard]] constexpr bool is_key_problem(ErrorKind kind) noexcept {
  return kind == ErrorKind::key_missing || kind == ErrorKind::key_wrong;
}
// Throws that of the newest entry that cannot be read for want of its key; none: nothing.
void require_keys(const std::vector<CatalogueEntry>& entries);

CatalogueEntry read_catalogue_entry(const BackupRepository& repository, const std::string& label,
                                    const CallContext& context);

// Names of the summaries, ascending.
std::vector<std::string> list_summaries(const BackupRepository& repository, const CallContext& context);
// Backups of which there is a summary, and nothing else: their directory is missing. labels: those of the directories,
// listed after the summaries, both ascending.
std::vector<CatalogueEntry> read_lost_backups(const BackupRepository& repository,
                                              const std::vector<std::string>& labels,
                                              const std::vector<std::string>& summaries, unsigned threads,
                                              const CallContext& context);

// All that was begun, also when nothing but its summary is left; ascending. threads: how many manifests are read at a
// time.
std::vector<CatalogueEntry> read_catalogue(const BackupRepository& repository, unsigned threads,
                                           const CallContext& context);

// A server's clock that was behind made a backup that says it was finished before those that began before it: it is
// given the time of those, as far as the store's clock bears them out (one that was ahead makes none later). Entries:
// ascending.
void mend_times(const BackupRepository& repository, std::vector<CatalogueEntry>& entries, const CallContext& context);

// Where recovery is to end; none of them: at the end of the archived WAL.
struct RecoveryTarget {
  enum class Kind { latest, time, lsn, xid, name, immediate } kind = Kind::latest;
  std::string value;                 // as PostgreSQL's setting takes it
  std::optional<WallTime> time = {}; // of Kind::time
  std::optional<Lsn> lsn = {};       // of Kind::lsn
  std::string timeline = {};         // "latest", "current" or a number; empty: what is usual for the kind
  std::string action = "promote";    // or "pause", "shutdown"
  bool standby = false;
};

// Whether it was complete before the target, as far as that is known before recovery.
bool was_complete(const BackupHead& head, const RecoveryTarget& target);

// The newest backup that was complete before the target, and that `fits` (which is asked for no others; may be empty).
// Throws Error(configuration) when there is none, saying from when on recovery is possible.
const BackupHead& choose_backup(const std::vector<CatalogueEntry>& catalogue, const RecoveryTarget& target,
                                const std::function<bool(const BackupHead&)>& fits = {});

// Lines for postgresql.auto.conf. comment: one line.
std::string recovery_settings(const RecoveryTarget& target, const std::string& restore_command,
                              const std::string& comment, bool keep_archiving);

} // namespace dbops::core
