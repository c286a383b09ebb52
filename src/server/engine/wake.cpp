#include "server/engine/wake.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "server/compat.h"
#include "server/engine/shared.h"
#include "server/engine/slice_tag.h"

extern "C" {
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
}

namespace dbops::server {

namespace {

constexpr int max_interrupts = 256;

// Filled inside a transaction, emptied by its end. Each knows the nesting level of the savepoint that it belongs to:
// what is rolled back to a savepoint has not happened.
struct Interrupt {
  int pid;
  int level;
  std::int64_t job;
};
int announce_level = 0; // 0: nothing to announce
int interrupts = 0;
Interrupt interrupted[max_interrupts];
bool databases_changed = false;

// Cancels what a worker does for its job, as its slot says: a scheduled command may have given back all locks (DISCARD
// ALL) and be at work. False: it is no worker, or at another job, or at none.
bool interrupt_in_slot(const Interrupt& wanted) {
  if (shared() == nullptr) return false;
  const SharedLock lock; // it does not go on to another job meanwhile
  const bool at_work = std::any_of(std::begin(shared()->slots), std::end(shared()->slots), [&wanted](const Slot& slot) {
    return slot.state == Slot::State::running && slot.pid == wanted.pid && slot.database == MyDatabaseId &&
           slot.job == wanted.job;
  });
  if (at_work) kill(wanted.pid, SIGINT);
  return at_work;
}

// With the LWLock of the partition held.
bool has_slice_in(const PGPROC* process, int partition, std::int64_t job) {
  const auto* const head = compat::head_of_locks(process, partition);
  for (const auto* link = head->next; link != nullptr && link != head; link = link->next) {
    const auto* held =
        reinterpret_cast<const PROCLOCK*>(reinterpret_cast<const char*>(link) - offsetof(PROCLOCK, procLink));
    if (held->holdMask != 0 && is_slice_of(held->tag.myLock->tag, job)) return true;
  }
  return false;
}

// Cancels what the process, a session in CALL dbops.run() above all, does with a slice of the job. The lock is looked
// up here and not by the view: after the commit nothing may raise an error.
void interrupt_holder(const Interrupt& wanted) {
  const PGPROC* const process = BackendPidGetProc(wanted.pid);
  if (process == nullptr) return;
  for (int partition = 0; partition < NUM_LOCK_PARTITIONS; ++partition) {
    LWLock* const lock = LockHashPartitionLockByIndex(partition);
    LWLockAcquire(lock, LW_SHARED); // it keeps the slice meanwhile
    // The entry may have gone to another process by now.
    const bool at_work = process->pid == wanted.pid && has_slice_in(process, partition, wanted.job);
    if (at_work) kill(wanted.pid, SIGINT);
    LWLockRelease(lock);
    if (at_work) return;
  }
}

// The processes were found when the transaction steered, perhaps minutes ago: what they do for their job is cancelled;
// not what they do since they have left it, nor a process that has got the number of one that ended.
void interrupt_all(int count) {
  for (int i = 0; i < count; ++i)
    if (!interrupt_in_slot(interrupted[i])) interrupt_holder(interrupted[i]);
}

void at_transaction_end(XactEvent event, void*) {
  if (announce_level == 0 && interrupts == 0 && !databases_changed) return;
  switch (event) {
  case XACT_EVENT_PRE_PREPARE:
    if (announce_level == 0 && interrupts == 0) break;
    // Nobody would be told at COMMIT PREPARED, which may run in another session.
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("cannot PREPARE a transaction that has created or changed a dbops job")));
    break;
  case XACT_EVENT_COMMIT: {
    const int count = interrupts;
    const bool tell = announce_level != 0;
    interrupts = 0;
    announce_level = 0;
    if (count > 0) interrupt_all(count);
    if (tell) announce_work(MyDatabaseId);
    if (std::exchange(databases_changed, false) && shared() != nullptr) {
      shared()->relist = true;
      wake_launcher();
    }
    break;
  }
  case XACT_EVENT_ABORT:
    databases_changed = false;
    interrupts = 0;
    announce_level = 0;
    break;
  default:
    break;
  }
}

void at_savepoint_end(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
  const int level = GetCurrentTransactionNestLevel();
  if (event == SUBXACT_EVENT_COMMIT_SUB) {
    if (announce_level >= level) announce_level = level - 1;
    for (int i = 0; i < interrupts; ++i)
      interrupted[i].level = std::min(interrupted[i].level, level - 1);
  } else if (event == SUBXACT_EVENT_ABORT_SUB) {
    if (announce_level >= level) announce_level = 0;
    interrupts = static_cast<int>(std::remove_if(interrupted, interrupted + interrupts,
                                                 [level](const Interrupt& entry) { return entry.level >= level; }) -
                                  interrupted);
  }
}

} // namespace

void install_commit_callback() {
  RegisterXactCallback(at_transaction_end, nullptr);
  RegisterSubXactCallback(at_savepoint_end, nullptr);
}

void relist_databases_at_commit() {
  databases_changed = true;
}

void announce_at_commit() {
  if (announce_level == 0) announce_level = GetCurrentTransactionNestLevel();
}

void interrupt_at_commit(int pid, std::int64_t job) {
  if (pid == MyProcPid) return;
  for (int i = 0; i < interrupts; ++i)
    if (interrupted[i].pid == pid && interrupted[i].job == job) return;
  if (interrupts < max_interrupts) interrupted[interrupts++] = {pid, GetCurrentTransactionNestLevel(), job};
}

} // namespace dbops::server
