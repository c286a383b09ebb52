#include "server/engine/session.h"

extern "C" {
#include "access/xact.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
}

namespace dbops::server {

namespace {

// Whatever the role's default_transaction_isolation says: a batch looks at the newest version of a row that was changed
// under it, and each statement of the engine sees what was committed before it. Before the first snapshot only.
void at_read_committed() {
  if (!FirstSnapshotSet) XactIsoLevel = XACT_READ_COMMITTED;
}

// In a call_pg of its own: SPI_finish() frees the memory context that this one comes back to after an error, and the
// commit that follows may raise one (a deferred constraint), whose text is copied there.
void close_statements() {
  call_pg([] {
    SPI_finish();
    PopActiveSnapshot();
  });
}

} // namespace

void WorkerSession::begin() {
  call_pg([] {
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    at_read_committed();
    SPI_connect();
    PushActiveSnapshot(GetTransactionSnapshot());
  });
}

void WorkerSession::commit() {
  close_statements();
  call_pg([] { CommitTransactionCommand(); });
  try {
    call_pg([] {
      // Without this autovacuum never hears of the rows that died.
      pgstat_report_stat(true);
      pgstat_report_activity(STATE_IDLE, nullptr);
    });
  } catch (const SqlError&) { // committed is committed: it must not look like a failure, which would be done again
  }
}

void WorkerSession::rollback() noexcept {
  try {
    call_pg([] {
      AbortCurrentTransaction();
      pgstat_report_stat(true);
      pgstat_report_activity(STATE_IDLE, nullptr);
    });
  } catch (...) {
    // An abort that fails leaves a process that cannot be trusted; the job continues from its last commit in another
    // one.
    proc_exit(1);
  }
}

void ProcedureSession::begin() {
  memory_ = CurrentMemoryContext;
  owner_ = CurrentResourceOwner;
  call_pg([] {
    at_read_committed();
    BeginInternalSubTransaction("dbops");
    SPI_connect();
    PushActiveSnapshot(GetTransactionSnapshot());
  });
}

void ProcedureSession::commit() {
  close_statements();
  call_pg([] { ReleaseCurrentSubTransaction(); });
  MemoryContextSwitchTo(memory_);
  CurrentResourceOwner = owner_;
  call_pg([] { SPI_commit(); });
  // SPI_commit began a transaction with a resource owner of its own.
  owner_ = CurrentResourceOwner;
}

void ProcedureSession::rollback() noexcept {
  try {
    // A commit that failed after the subtransaction was released has nothing left to roll back here.
    if (GetCurrentTransactionNestLevel() > 1) {
      call_pg([] { RollbackAndReleaseCurrentSubTransaction(); });
      MemoryContextSwitchTo(memory_);
      CurrentResourceOwner = owner_;
    }
    call_pg([] { SPI_rollback(); });
    owner_ = CurrentResourceOwner;
  } catch (...) {
    call_pg([] { ereport(FATAL, (errmsg("dbops: could not roll back a batch"))); });
  }
}

} // namespace dbops::server
