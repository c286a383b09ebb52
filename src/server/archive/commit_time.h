// When the oldest commit behind a position of the WAL was made, read from the WAL itself.
#pragma once

#include "core/wal/segment.h"
#include "server/pg.h"

namespace dbops::server::archive {

struct OldestCommit {
  enum class Answer {
    none,    // no commit lies between
    found,   // `time` is its time
    unknown, // the WAL is not there any more, or too much of it has no commit
  } answer;
  TimestampTz time;
};

// Looks from `from` up to `to`, which must be flushed, on that timeline. Reads 64 MiB at most.
OldestCommit oldest_commit(core::TimelineId timeline, core::Lsn from, core::Lsn to);

} // namespace dbops::server::archive
