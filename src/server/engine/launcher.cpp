// The launcher: one process, connected to no database. It knows which databases have work (they say so in shared memory;
// after a start it looks once at each) and asks for a dispatcher there. It wakes when told, when something falls due, and
// otherwise once a minute.

#include <algorithm>
#include <csignal>

#include "server/engine/processes.h"
#include "server/engine/shared.h"
#include "server/engine/wait.h"
#include "server/guard.h"
#include "server/guc.h"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/snapmgr.h"

PGDLLEXPORT void dbops_launcher_main(Datum argument);
}

namespace dbops::server {

namespace {

using std::chrono::milliseconds;

constexpr int max_dispatchers = 3;
constexpr milliseconds idle_wake{60'000};
constexpr milliseconds retry_wake{1'000};

struct DatabaseList {
  int count;
  Oid oids[max_databases];
};

// Databases that may be connected to and are no templates.
void list_databases(DatabaseList& list) {
  call_pg([&list] {
    list.count = 0;
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    Relation catalog = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(catalog, 0, nullptr);
    for (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection); HeapTupleIsValid(tuple);
         tuple = heap_getnext(scan, ForwardScanDirection)) {
      auto* row = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
      // A datconnlimit of -2 marks a database whose DROP was interrupted.
      if (!row->datallowconn || row->datistemplate || row->datconnlimit == -2) continue;
      if (list.count < max_databases) list.oids[list.count++] = row->oid;
    }
    table_endscan(scan);
    table_close(catalog, AccessShareLock);
    PopActiveSnapshot();
    CommitTransactionCommand();
  });
}

// Entries for all databases there are (to be scanned when `scan`), none for those that are gone.
void refresh_databases(bool scan) {
  static auto& list = *new DatabaseList();
  list_databases(list);
  SharedLock lock;
  shared()->overflow = false;
  for (DatabaseEntry& entry : shared()->databases)
    if (entry.database != InvalidOid && entry.dispatcher == 0 &&
        std::find(list.oids, list.oids + list.count, entry.database) == list.oids + list.count)
      entry = DatabaseEntry{};
  for (int i = 0; i < list.count; ++i)
    if (DatabaseEntry* entry = find_database(list.oids[i], true); entry != nullptr && scan) entry->scan = true;
}

bool process_is_gone(int pid) { return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH; }

// Dispatchers and workers that never came up (fork failed) or ended without saying so.
void sweep_dead(TimestampTz now) {
  SharedLock lock;
  for (DatabaseEntry& entry : shared()->databases)
    if (entry.dispatcher != 0 &&
        (process_is_gone(entry.dispatcher) || (entry.dispatcher < 0 && TimestampDifferenceExceeds(entry.started, now, 30'000)))) {
      entry.dispatcher = 0;
      entry.scan = true;
    }
  for (Slot& slot : shared()->slots) {
    const bool never_came = slot.state == Slot::State::reserved && TimestampDifferenceExceeds(slot.since, now, 30'000);
    if (!never_came && !(slot.state == Slot::State::running && process_is_gone(slot.pid))) continue;
    if (DatabaseEntry* entry = find_database(slot.database, true)) entry->scan = true;
    slot = Slot{};
  }
}

// Databases to be looked at now; counts the dispatchers that run. Sets the time of the next thing to do.
int due_databases(Oid* due, TimestampTz now, TimestampTz& next) {
  SharedLock lock;
  int running = 0;
  int count = 0;
  for (const DatabaseEntry& entry : shared()->databases) {
    if (entry.database == InvalidOid) continue;
    if (entry.dispatcher != 0) {
      ++running;
      continue;
    }
    const bool wanted = entry.scan || entry.due <= now;
    if (wanted && entry.hold <= now) due[count++] = entry.database;
    else if (wanted) next = std::min(next, entry.hold);
    else next = std::min(next, entry.due);
  }
  return std::max(0, std::min(count, max_dispatchers - running));
}

// There are more slots than before: who waits for one may look again.
void scan_backlogs() {
  SharedLock lock;
  for (DatabaseEntry& entry : shared()->databases)
    if (entry.database != InvalidOid && entry.backlog) entry.scan = true;
}

bool launch(Oid database, TimestampTz now) {
  {
    SharedLock lock;
    DatabaseEntry* entry = find_database(database, false);
    if (entry == nullptr) return true;
    entry->scan = false;
    entry->due = DT_NOEND;
    entry->dispatcher = -1;
    entry->started = now;
  }
  if (start_dispatcher(database)) return true;
  SharedLock lock;
  if (DatabaseEntry* entry = find_database(database, false)) {
    entry->dispatcher = 0;
    entry->scan = true;
  }
  return false;
}

milliseconds until(TimestampTz next, TimestampTz now) {
  if (next == DT_NOEND) return idle_wake;
  const milliseconds wait{std::max<std::int64_t>(0, (next - now) / 1000 + 1)};
  return std::min(wait, idle_wake);
}

void announce_launcher(bool here) {
  SharedLock lock;
  shared()->launcher = here ? MyLatch : nullptr;
  shared()->launcher_pid = here ? MyProcPid : 0;
}

void at_exit(int, Datum) { announce_launcher(false); }

void work() {
  static Oid due[max_databases];
  bool complained = false;
  TimestampTz refreshed = GetCurrentTimestamp();
  refresh_databases(true);
  for (;;) {
    if (ShutdownRequestPending) return;
    const TimestampTz now = GetCurrentTimestamp();
    if (shared()->overflow || TimestampDifferenceExceeds(refreshed, now, 300'000)) {
      refresh_databases(shared()->overflow);
      refreshed = now;
    }
    sweep_dead(now);
    TimestampTz next = DT_NOEND;
    milliseconds wait = idle_wake;
    bool refused = false;
    const int count = due_databases(due, now, next);
    for (int i = 0; i < count && !refused; ++i) refused = !launch(due[i], now);
    if (refused && !complained)
      call_pg([] {
        ereport(WARNING, (errmsg("dbops: no free background worker process, jobs stay queued"),
                          errhint("Raise max_worker_processes.")));
      });
    complained = refused;
    wait = refused ? retry_wake : until(next, now);
    const int slots = guc::max_workers;
    nap(wait);
    if (guc::max_workers > slots) scan_backlogs();
  }
}

} // namespace

void register_launcher() {
  BackgroundWorker worker{};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = 1;
  strlcpy(worker.bgw_library_name, "dbops", sizeof worker.bgw_library_name);
  strlcpy(worker.bgw_function_name, "dbops_launcher_main", sizeof worker.bgw_function_name);
  strlcpy(worker.bgw_name, "dbops launcher", sizeof worker.bgw_name);
  strlcpy(worker.bgw_type, "dbops launcher", sizeof worker.bgw_type);
  RegisterBackgroundWorker(&worker);
}

} // namespace dbops::server

void dbops_launcher_main(Datum) {
  using namespace dbops::server;
  pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  before_shmem_exit(at_exit, static_cast<Datum>(0));
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
  announce_launcher(true);
  boundary([] { work(); });
  // Exit code 1: started again after bgw_restart_time (pg_terminate_backend), unless the server is shutting down.
  proc_exit(1);
}
