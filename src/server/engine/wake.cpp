#include "server/engine/wake.h"

#include <csignal>

#include "server/engine/shared.h"

namespace dbops::server {

namespace {

constexpr int max_interrupts = 256;

// Plain data: filled inside a transaction, emptied by its end.
bool announce = false;
int interrupts = 0;
int interrupted[max_interrupts];

void at_transaction_end(XactEvent event, void*) {
  if (!announce && interrupts == 0) return;
  switch (event) {
  case XACT_EVENT_PRE_PREPARE:
    // Nobody would be told at COMMIT PREPARED, which may run in another session.
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("cannot PREPARE a transaction that has created or changed a dbops job")));
    break;
  case XACT_EVENT_COMMIT: {
    const int count = interrupts;
    const bool tell = announce;
    interrupts = 0;
    announce = false;
    for (int i = 0; i < count; ++i) kill(interrupted[i], SIGINT);
    if (tell) announce_work(MyDatabaseId);
    break;
  }
  case XACT_EVENT_ABORT:
    interrupts = 0;
    announce = false;
    break;
  default:
    break;
  }
}

} // namespace

void install_commit_callback() { RegisterXactCallback(at_transaction_end, nullptr); }

void announce_at_commit() { announce = true; }

void interrupt_at_commit(int pid) {
  if (pid == MyProcPid) return;
  for (int i = 0; i < interrupts; ++i)
    if (interrupted[i] == pid) return;
  if (interrupts < max_interrupts) interrupted[interrupts++] = pid;
}

} // namespace dbops::server
