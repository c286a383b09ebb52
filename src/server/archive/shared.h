// What the archiver, the streamer and the views share about repositories: counters and positions, never the truth. A
// crash empties it; the store and pg_wal have the rest.
#pragma once

#include "core/wal/segment.h"
#include "server/pg.h"

extern "C" {
#include "storage/latch.h"
#include "storage/lwlock.h"
}

namespace dbops::server::archive {

inline constexpr int primary = 0;
inline constexpr int offsite = 1;
inline constexpr int repositories = 2;
const char* repository_name(int repository) noexcept; // 'primary', 'offsite'
// Of RepositoryStatus::gap_from.
inline constexpr const char* lineage_gap_hint =
    "Take a base backup now: from older ones nothing behind the gap can be restored out of this store.";

// Of an object that the offsite repository cannot get from the first one.
inline constexpr const char* damaged_object_hint =
    "Put a good copy in its place, or remove it and take a base backup: from older ones nothing behind it can be "
    "restored. It is tried again by itself.";

// Files that a repository has although PostgreSQL still holds them to be archived, as many as there is room for: who
// counts what a repository lacks leaves them out.
struct StoredAhead {
  struct Segments {
    std::uint32_t timeline;
    std::uint64_t first, end; // numbers; end: behind the last one
  };
  Segments segments[16];
  char others[8][48]; // names of files of other kinds
  int segment_ranges, other_files;
};

struct RepositoryStatus {
  std::uint64_t store; // which one the positions are of: a hash of its URL
  // Positions on `timeline`; 0: not known yet.
  std::uint32_t timeline;
  std::uint64_t archived;                   // everything before is there as whole segments
  std::uint64_t streamed_from, streamed_to; // this is there in chunks
  std::uint64_t durable;                    // everything before is there; never moves back on one timeline
  std::uint64_t gap_from, gap_to;           // WAL before the timeline's beginning that is not there; gap_to 0: none
  TimestampTz caught_up;                    // when the flush position was last seen to be durable

  // Counters since `ArchiveShared::reset`, kept over a restart (saved_counters.h) as is what was stored last.
  std::int64_t files, file_bytes, chunks, merges, chunk_bytes, stored_bytes, retries, failures;

  double rate; // stored bytes a second, with a memory of half a minute, as of rate_at
  TimestampTz rate_at;

  StoredAhead ahead;
  char last_file[64];
  TimestampTz last_file_at, last_chunk_at;
  char last_error[512], last_hint[256];
  TimestampTz last_error_at;
  bool archiver_failing, streamer_failing, diverged;
};

struct ArchiveShared {
  LWLock* lock;
  TimestampTz reset; // of the counters
  int streamer_pid;
  Latch* streamer; // valid while streamer_pid is not 0
  int archiver_pid;
  RepositoryStatus repository[repositories];
};

// Null when dbops is not in shared_preload_libraries.
ArchiveShared* archive_shared() noexcept;
void install_archive_memory(); // in _PG_init of a preloaded library

// Runs fn(ArchiveShared&) under the lock; does nothing when there is no shared memory. fn must not raise or throw.
template <typename F>
void with_archive_shared(F&& fn) {
  ArchiveShared* const memory = archive_shared();
  if (memory == nullptr) return;
  LWLockAcquire(memory->lock, LW_EXCLUSIVE);
  fn(*memory);
  LWLockRelease(memory->lock);
}

// Which store a URL names, for the positions; never 0.
std::uint64_t store_hash(const std::string& url);

// Under the lock. Called by a process whose settings have just changed: another store has nothing of what the old one
// has.
void enter_store(RepositoryStatus& status, std::uint64_t store);
// Under the lock. What is of another store than the one entered, or of an older timeline, changes nothing; a newer
// timeline empties the positions of the old one.
void enter_timeline(RepositoryStatus& status, std::uint32_t timeline);
void note_archived(RepositoryStatus& status, std::uint64_t store, std::uint32_t timeline, std::uint64_t upto);
void note_streamed(RepositoryStatus& status, std::uint64_t store, std::uint32_t timeline, std::uint64_t from,
                   std::uint64_t to);
void note_stored(RepositoryStatus& status, std::int64_t bytes);
double stored_rate(const RepositoryStatus& status, TimestampTz now); // bytes a second
void note_error(RepositoryStatus& status, const char* message, const char* hint);

} // namespace dbops::server::archive
