// What PostgreSQL has noted about the archiving of a file of pg_wal: name.ready or name.done in archive_status. It
// makes .ready without fsync, after the segment is finished, so a crash may lose it; then PostgreSQL makes it again
// only when it would recycle the segment (xlogarchive.c, XLogArchiveCheckDone).
#pragma once

#include "core/wal/segment.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

// What a primary has in pg_wal of its own history that is finished and neither archived nor waiting to be, in no order:
// segments of `timeline` before `flushed` and, without `from`, those of its ancestors before the switch, what was left
// of an ancestor's last segment, and the history of the timeline. from: only segments of the timeline itself, from this
// one on. Not for a server in recovery: there, files without a mark are as they should be. Throws Error.
std::vector<WalFileName> unmarked_files(const std::filesystem::path& wal_directory, TimelineId timeline, Lsn flushed,
                                        SegmentSize size, std::optional<SegmentNumber> from = {});

// As PostgreSQL would have them archived, but durably. Throws Error.
void make_ready(const std::filesystem::path& wal_directory, const std::vector<WalFileName>& files);

// Whether the file is acknowledged, or not there any more. False also when that cannot be seen.
bool is_done(const std::filesystem::path& wal_directory, const std::string& name) noexcept;

// Whether the history of the timeline, which is in pg_wal, waits to be archived, or has lost its mark; also when that
// cannot be seen.
bool history_waits(const std::filesystem::path& wal_directory, TimelineId timeline) noexcept;
std::string history_name(TimelineId timeline);

} // namespace dbops::core
