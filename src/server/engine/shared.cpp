#include "server/engine/shared.h"

#include <algorithm>
#include <unistd.h>

#include "server/schedule/record.h"

extern "C" {
#include "access/xlog.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
}

namespace dbops::server {

namespace {

Shared* memory = nullptr;
bool recovers_from_archive = false; // the postmaster's; outlives the memory, which a crash empties
shmem_request_hook_type previous_request_hook = nullptr;
shmem_startup_hook_type previous_startup_hook = nullptr;

void request() {
  if (previous_request_hook != nullptr) previous_request_hook();
  RequestAddinShmemSpace(sizeof(Shared));
  RequestNamedLWLockTranche("dbops", 1);
}

void startup() {
  if (previous_startup_hook != nullptr) previous_startup_hook();
  bool found = false;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  memory = static_cast<Shared*>(ShmemInitStruct("dbops", sizeof(Shared), &found));
  if (!found) {
    std::memset(static_cast<void*>(memory), 0, sizeof(Shared));
    memory->lock = &GetNamedLWLockTranche("dbops")->lock;
    memory->restored = recovers_from_archive;
  }
  LWLockRelease(AddinShmemInitLock);
}

} // namespace

Shared* shared() noexcept {
  return memory;
}

bool was_restored() noexcept {
  return memory != nullptr && memory->restored;
}

void install_shared_memory() {
  // Both are gone when recovery has ended. With both, it is a standby (xlogrecovery.c, readRecoverySignalFile).
  recovers_from_archive = ::access(RECOVERY_SIGNAL_FILE, F_OK) == 0 && ::access(STANDBY_SIGNAL_FILE, F_OK) != 0;
  previous_request_hook = shmem_request_hook;
  shmem_request_hook = request;
  previous_startup_hook = shmem_startup_hook;
  shmem_startup_hook = startup;
}

DatabaseEntry* find_database(Oid database, bool create) {
  DatabaseEntry* spare = nullptr;
  for (DatabaseEntry& entry : memory->databases) {
    if (entry.database == database) return &entry;
    if (spare == nullptr && entry.database == InvalidOid) spare = &entry;
  }
  if (!create || spare == nullptr) return nullptr;
  *spare = DatabaseEntry{};
  spare->database = database;
  spare->due = DT_NOEND;
  return spare;
}

void mark_due(Oid database) {
  if (DatabaseEntry* entry = find_database(database, true))
    entry->scan = true;
  else
    memory->overflow = true;
}

void mark_waiting() {
  for (DatabaseEntry& entry : memory->databases)
    if (entry.database != InvalidOid && entry.backlog) entry.scan = true;
}

void note_command_over(const Slot& slot) {
  if (slot.slice != schedule::any_due) return;
  if (DatabaseEntry* entry = find_database(slot.database, false)) ++entry->over;
}

TimestampTz held_until(Oid database) {
  const TimestampTz now = GetCurrentTimestamp();
  TimestampTz until = 0;
  for (const Hold& hold : memory->holds)
    if (hold.database == database && hold.until > now) until = std::max(until, hold.until);
  return until;
}

bool give_slot_back(int priority) {
  if (memory == nullptr) return false;
  SharedLock lock;
  for (DatabaseEntry& entry : memory->databases) {
    if (entry.database == InvalidOid || entry.commands <= 0 || entry.command_priority < priority) continue;
    --entry.commands;
    for (Slot& slot : memory->slots)
      if (slot.state == Slot::State::running && slot.pid == MyProcPid) slot.given_to = entry.database;
    return true;
  }
  return false;
}

void announce_work(Oid database) {
  if (memory == nullptr) return;
  {
    SharedLock lock;
    mark_due(database);
  }
  wake_launcher();
}

void wake_launcher() {
  if (memory == nullptr) return;
  SharedLock lock;
  if (memory->launcher_pid != 0) SetLatch(memory->launcher);
}

} // namespace dbops::server
