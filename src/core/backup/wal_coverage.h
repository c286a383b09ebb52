// How far recovery from a backup gets with the WAL that is in the store.
#pragma once

#include "core/backup/catalogue.h"
#include "core/base/log.h"
#include "core/wal/catalogue.h"
#include "core/wal/timeline_history.h"

#include <functional>
#include <optional>

namespace dbops::core {

// Part of a timeline that recovery goes along: to where the next one branches off.
struct TimelineLeg {
  TimelineId timeline = 0;
  Lsn begin = 0, end = 0; // end of the last one: the greatest LSN
};
using RecoveryPath = std::vector<TimelineLeg>; // not empty

struct WalCoverage {
  Lsn until = 0;           // all WAL from the backup's start to here is there
  Lsn later_from = 0;      // where there must be or is WAL behind a gap; 0: there is no gap
  TimelineId timeline = 0; // on which `until` lies
};

// Of a timeline. Throws std::out_of_range for one that it does not know.
using ContentsOf = std::function<const TimelineContents&(TimelineId)>;

// The way from the backup to the end of timeline `wanted` with these ancestors. Absent: the backup is not on it, or was
// complete only after it was left.
std::optional<RecoveryPath> recovery_path(const BackupHead& head, TimelineId wanted,
                                          const std::vector<TimelineSwitch>& ancestors);
// The one that the target's timeline names; reads history files. Throws what ObjectStore throws, Error(corrupt) for a
// history file, and Error(configuration) for a timeline that is no number.
std::optional<RecoveryPath> recovery_path(const BackupRepository& repository, const BackupHead& head,
                                          const RecoveryTarget& target, const CallContext& context);

// The ancestors of a timeline, oldest first. Absent: there is no history file.
std::optional<std::vector<TimelineSwitch>> read_history(const BackupRepository& repository, TimelineId timeline,
                                                        const CallContext& context);

// Whether there is any of the timeline. A server that was promoted claims its own before it stores anything.
bool has_wal(const BackupRepository& repository, TimelineId timeline, const CallContext& context);

// Timelines with WAL after this one that recovery cannot come to, as their history file is missing. Ascending.
std::vector<TimelineId> timelines_without_history(const BackupRepository& repository, TimelineId after,
                                                  const CallContext& context);

WalCoverage wal_coverage(const BackupHead& head, const RecoveryPath& path, const ContentsOf& contents_of);
// On its own timeline alone.
WalCoverage wal_coverage(const TimelineContents& contents, const BackupHead& head);

// Throws Error(configuration) when WAL is missing between the backup's start and its stop.
void check_consistent(const WalCoverage& coverage, const BackupHead& head);

// How long the store may take to get the WAL that a target needs, and what is told while it is waited for.
struct WalPatience {
  std::chrono::steady_clock::duration time = {};
  LogSink log = {};
};

// Throws Error(configuration) when the WAL in the store does not lead from the backup to the target, as far as can be
// told before recovery, over all timelines on the way, and still does not after `patience`: to the backup's stop, to a
// target LSN, past a target time (PostgreSQL needs a transaction behind it), and without a target to the end of what is
// there. A hole that a crash or uploads on their way explain is such an end, as it is for "dbops wal-get"
// (AtHole::end). The message says which range can be reached. Where a transaction or a name lies is only known when
// recovery comes to it, which opens no server before: then it returns what is to be said of a hole, if there is one.
// Reads the lists of their WAL.
std::string check_wal_coverage(const BackupRepository& repository, const BackupHead& head, const RecoveryTarget& target,
                               const WalPatience& patience, const CallContext& context);

} // namespace dbops::core
