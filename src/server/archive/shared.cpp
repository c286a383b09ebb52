#include "server/archive/shared.h"

#include "server/archive/saved_counters.h"

#include <algorithm>
#include <cmath>
#include <functional>

extern "C" {
#include "storage/ipc.h"
#include "storage/shmem.h"
}

namespace dbops::server::archive {

namespace {

constexpr double rate_memory = 30; // seconds

ArchiveShared* memory = nullptr;
shmem_request_hook_type previous_request_hook = nullptr;
shmem_startup_hook_type previous_startup_hook = nullptr;

void request() {
  if (previous_request_hook != nullptr) previous_request_hook();
  RequestAddinShmemSpace(sizeof(ArchiveShared));
  RequestNamedLWLockTranche("dbops archive", 1);
}

// In the postmaster, when the archiver has ended. Not after a crash.
void save_at_exit(int code, Datum) {
  if (code == 0) save_counters(*memory);
}

void startup() {
  if (previous_startup_hook != nullptr) previous_startup_hook();
  bool found = false;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  memory = static_cast<ArchiveShared*>(ShmemInitStruct("dbops archive", sizeof(ArchiveShared), &found));
  if (!found) {
    std::memset(static_cast<void*>(memory), 0, sizeof(ArchiveShared));
    memory->lock = &GetNamedLWLockTranche("dbops archive")->lock;
    memory->reset = GetCurrentTimestamp();
    load_counters(*memory);
  }
  LWLockRelease(AddinShmemInitLock);
  if (!IsUnderPostmaster) on_shmem_exit(save_at_exit, 0);
}

void raise_durable(RepositoryStatus& status) {
  std::uint64_t durable = status.archived;
  if (status.streamed_to > durable && status.streamed_from <= durable) durable = status.streamed_to;
  status.durable = std::max(status.durable, durable);
}

} // namespace

const char* repository_name(int repository) noexcept {
  return repository == primary ? "primary" : "offsite";
}

ArchiveShared* archive_shared() noexcept {
  return memory;
}

void install_archive_memory() {
  previous_request_hook = shmem_request_hook;
  shmem_request_hook = request;
  previous_startup_hook = shmem_startup_hook;
  shmem_startup_hook = startup;
}

std::uint64_t store_hash(const std::string& url) {
  return std::hash<std::string>()(url) | 1;
}

void enter_store(RepositoryStatus& status, std::uint64_t store) {
  if (status.store == store) return;
  status.store = store;
  status.timeline = 0;
  status.archived = status.streamed_from = status.streamed_to = status.durable = 0;
  status.gap_from = status.gap_to = 0;
  status.caught_up = 0;
  status.ahead = {};
  status.archiver_failing = status.streamer_failing = status.diverged = false;
}

void enter_timeline(RepositoryStatus& status, std::uint32_t timeline) {
  if (status.timeline == timeline) return;
  status.timeline = timeline;
  status.archived = status.streamed_from = status.streamed_to = status.durable = 0;
  status.gap_from = status.gap_to = 0;
}

void note_archived(RepositoryStatus& status, std::uint64_t store, std::uint32_t timeline, std::uint64_t upto) {
  if (store != status.store || timeline < status.timeline)
    return; // an ancestor's segment says nothing about this timeline
  enter_timeline(status, timeline);
  status.archived = std::max(status.archived, upto);
  raise_durable(status);
}

void note_streamed(RepositoryStatus& status, std::uint64_t store, std::uint32_t timeline, std::uint64_t from,
                   std::uint64_t to) {
  if (store != status.store || timeline < status.timeline) return;
  enter_timeline(status, timeline);
  status.streamed_from = from;
  status.streamed_to = to;
  raise_durable(status);
}

double stored_rate(const RepositoryStatus& status, TimestampTz now) {
  if (status.rate_at == 0) return 0;
  const double seconds = std::max<double>(0, static_cast<double>(now - status.rate_at) / 1e6);
  return status.rate * std::exp(-seconds / rate_memory);
}

void note_stored(RepositoryStatus& status, std::int64_t bytes) {
  status.stored_bytes += bytes;
  const TimestampTz now = GetCurrentTimestamp();
  status.rate = stored_rate(status, now) + static_cast<double>(bytes) / rate_memory;
  status.rate_at = now;
}

void note_error(RepositoryStatus& status, const char* message, const char* hint) {
  strlcpy(status.last_error, message, sizeof status.last_error);
  strlcpy(status.last_hint, hint, sizeof status.last_hint);
  status.last_error_at = GetCurrentTimestamp();
}

} // namespace dbops::server::archive
