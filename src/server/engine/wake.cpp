#include "server/engine/wake.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "server/engine/shared.h"

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

// Cancels what these processes do for their job; not what those do that have gone on to another one. A scheduled
// command's process does so only when the schedule's row, which the caller has locked, is let go.
void interrupt_all(int count) {
  if (shared() == nullptr) {
    for (int i = 0; i < count; ++i)
      kill(interrupted[i].pid, SIGINT);
    return;
  }
  const SharedLock lock; // nobody goes on to another job meanwhile
  for (int i = 0; i < count; ++i) {
    const Interrupt& wanted = interrupted[i];
    if (std::none_of(std::begin(shared()->slots), std::end(shared()->slots), [&wanted](const Slot& slot) {
          return slot.state == Slot::State::running && slot.pid == wanted.pid && slot.slice >= 0 &&
                 slot.job != wanted.job;
        }))
      kill(wanted.pid, SIGINT);
  }
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
