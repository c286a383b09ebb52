// The processes that work in one database: the dispatcher, which looks what is due and is gone again within moments,
// and the job worker, which connects as the owner of its job.

#include <algorithm>

#include "server/compat.h"
#include "server/engine/dispatch.h"
#include "server/engine/processes.h"
#include "server/engine/run.h"
#include "server/engine/shared.h"
#include "server/guc.h"
#include "server/schedule/runs.h"

extern "C" {
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"

PGDLLEXPORT void dbops_dispatcher_main(Datum argument);
PGDLLEXPORT void dbops_worker_main(Datum argument);
}

namespace dbops::server {

namespace {

// What a worker is told at its start; fits in bgw_extra.
struct WorkerOrder {
  int slot;
  Oid database;
  Oid owner;
  std::int64_t job;
  int slice;
};
static_assert(sizeof(WorkerOrder) <= BGW_EXTRALEN);

BackgroundWorker describe(const char* function, const char* type) {
  BackgroundWorker worker{};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = BGW_NEVER_RESTART;
  strlcpy(worker.bgw_library_name, "dbops", sizeof worker.bgw_library_name);
  strlcpy(worker.bgw_function_name, function, sizeof worker.bgw_function_name);
  strlcpy(worker.bgw_type, type, sizeof worker.bgw_type);
  return worker;
}

bool ask_postmaster(BackgroundWorker& worker) {
  return call_pg([&worker] { return RegisterDynamicBackgroundWorker(&worker, nullptr); });
}

// How far this dispatcher has come. One that did not finish has lost what its launch had taken off the list.
enum class DispatcherStage { connecting, working, finished };
DispatcherStage dispatcher_stage = DispatcherStage::connecting;

void dispatcher_ended(int, Datum database) {
  {
    SharedLock lock;
    if (DatabaseEntry* entry = find_database(DatumGetObjectId(database), false);
        entry != nullptr && entry->dispatcher == MyProcPid) {
      entry->dispatcher = 0;
      if (dispatcher_stage != DispatcherStage::finished) {
        const int again = dispatcher_stage == DispatcherStage::working ? 5 : 60; // seconds
        entry->due = std::min(entry->due, GetCurrentTimestamp() + again * USECS_PER_SEC);
      }
      // Nothing is left to be known of it: its place is for others, as there may be more databases than places.
      if (!entry->scan && !entry->backlog && entry->due == DT_NOEND) *entry = DatabaseEntry{};
    }
  }
  wake_launcher();
}

void worker_ended(int, Datum slot) {
  {
    SharedLock lock;
    note_command_over(shared()->slots[DatumGetInt32(slot)]);
    const Oid database = shared()->slots[DatumGetInt32(slot)].database;
    shared()->slots[DatumGetInt32(slot)] = Slot{};
    mark_waiting();
    mark_due(database); // it has a loss to account for, or more
  }
  wake_launcher();
}

// Somebody may have the database locked in an open transaction (ALTER DATABASE ... RENAME), and there are few
// dispatchers for all databases. False: he has.
bool connect_dispatcher(Oid database) {
  SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
  try {
    call_pg([database] { BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0); });
    return true;
  } catch (const SqlError& error) {
    if (error.code != ERRCODE_LOCK_NOT_AVAILABLE) throw;
    return false;
  }
}

bool database_is_held(Oid database) {
  SharedLock lock;
  return held_until(database) > 0;
}

bool others_wait_for_slots() {
  SharedLock lock;
  return std::any_of(std::begin(shared()->databases), std::end(shared()->databases), [](const DatabaseEntry& entry) {
    return entry.database != InvalidOid && entry.database != MyDatabaseId && entry.backlog;
  });
}

// What the role's or the database's settings would do to the engine's own transactions. In a deadlock, with DROP
// EXTENSION above all, the engine finds it first and is the victim.
void plain_session() {
  for (const auto& [name, value] :
       {std::pair{"default_transaction_read_only", "off"}, std::pair{"default_transaction_isolation", "read committed"},
        std::pair{"default_transaction_deferrable", "off"}, std::pair{"statement_timeout", "0"},
        std::pair{"lock_timeout", "0"}, std::pair{"idle_in_transaction_session_timeout", "0"},
        std::pair{"deadlock_timeout", "50ms"}})
    SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
  compat::no_transaction_timeout();
}

void dispatcher_work() {
  WorkerSession session;
  const bool installed = session.transaction([] { return OidIsValid(extension_oid()); });
  if (!installed) {
    // Nothing waits any more; else everybody would go on giving way to it.
    SharedLock lock;
    if (DatabaseEntry* entry = find_database(MyDatabaseId, false)) {
      entry->backlog = entry->slot_missing = false;
      entry->commands = 0;
    }
    return;
  }
  account_for_losses(session);
  dispatch(session);
  prune_history(session);
}

void worker_work(const WorkerOrder& order) {
  WorkerSession session;
  const Oid owner = order.owner;
  std::optional<Assignment> next = Assignment{order.job, order.slice};
  while (next) {
    bool go_on = true;
    if (next->slice == schedule::any_due)
      schedule::work(session, owner, order.slot);
    else
      go_on = run_assignment(session, *next);
    {
      SharedLock lock;
      Slot& slot = shared()->slots[order.slot];
      slot.job = 0;
      if (slot.leave) return;
    }
    if (!go_on || others_wait_for_slots() || database_is_held(MyDatabaseId) || has_surplus_slot()) return;
    next = dispatch(session, owner, order.slot);
  }
}

// The victim of a deadlock (with a DROP EXTENSION) is this process; a role's or database's default does not stop the
// engine.
void give_way_to_others() {
  SetConfigOption("deadlock_timeout", "50ms", PGC_SUSET, PGC_S_OVERRIDE);
  SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_OVERRIDE);
}

// Under the lock.
bool is_claimed(const SlotClaim& claim) {
  const Slot& slot = shared()->slots[claim.number];
  return slot.since == claim.since && (slot.state == Slot::State::reserved || slot.state == Slot::State::wanted);
}

// True when this process is the one that the slot is waiting for.
bool take_slot(const WorkerOrder& order) {
  SharedLock lock;
  Slot& slot = shared()->slots[order.slot];
  if (slot.state != Slot::State::reserved || slot.database != order.database || slot.owner != order.owner ||
      slot.job != order.job || slot.slice != order.slice)
    return false;
  slot.state = Slot::State::running;
  slot.pid = MyProcPid;
  return true;
}

} // namespace

bool start_dispatcher(Oid database) {
  BackgroundWorker worker = describe("dbops_dispatcher_main", "dbops dispatcher");
  snprintf(worker.bgw_name, sizeof worker.bgw_name, "dbops dispatcher for database %u", database);
  worker.bgw_main_arg = ObjectIdGetDatum(database);
  return ask_postmaster(worker);
}

Reserved reserve_slot(Oid database, Oid owner, std::int64_t job, int slice, SlotClaim& slot) {
  SharedLock lock;
  if (held_until(database) > 0) return Reserved::held;
  int used = 0;
  int spare = -1;
  for (int i = 0; i < max_slots; ++i) {
    const Slot& other = shared()->slots[i];
    if (other.state == Slot::State::free) {
      if (spare < 0) spare = i;
      continue;
    }
    ++used;
    if (other.database == database && other.job == job && other.slice == slice) return Reserved::held;
  }
  if (spare < 0 || used >= guc::max_workers) return Reserved::no_slot;
  slot = {spare, GetCurrentTimestamp()};
  shared()->slots[spare] = Slot{Slot::State::reserved, database, owner, job, slice, 0, slot.since, false, InvalidOid};
  return Reserved::yes;
}

bool start_reserved(const SlotClaim& slot) {
  WorkerOrder order{};
  {
    SharedLock lock;
    if (!is_claimed(slot)) return true;
    Slot& place = shared()->slots[slot.number];
    order = {slot.number, place.database, place.owner, place.job, place.slice};
    place.state = Slot::State::reserved; // before the process looks
  }
  BackgroundWorker worker = describe("dbops_worker_main", "dbops worker");
  snprintf(worker.bgw_name, sizeof worker.bgw_name, "dbops worker for job " INT64_FORMAT, order.job);
  std::memcpy(worker.bgw_extra, &order, sizeof order);
  if (!ask_postmaster(worker)) return false;
  SharedLock lock;
  if (is_claimed(slot)) shared()->slots[slot.number].since = GetCurrentTimestamp(); // it may have waited for a process
  return true;
}

void want_process(const SlotClaim& slot) {
  SharedLock lock;
  if (is_claimed(slot)) shared()->slots[slot.number].state = Slot::State::wanted;
}

void free_slot(const SlotClaim& slot) {
  {
    SharedLock lock;
    if (!is_claimed(slot)) return;
    shared()->slots[slot.number] = Slot{};
    // Others may have found it taken. This database knows why it could not use the slot, and when to try again.
    for (DatabaseEntry& entry : shared()->databases)
      if (entry.database != InvalidOid && entry.database != MyDatabaseId && entry.slot_missing) entry.scan = true;
  }
  wake_launcher();
}

bool has_surplus_slot() {
  if (shared() == nullptr) return false;
  if (std::exchange(ConfigReloadPending, false)) call_pg([] { ProcessConfigFile(PGC_SIGHUP); });
  int before = 0; // those in the last places leave, so no more of them than are too many
  SharedLock lock;
  for (const Slot& slot : shared()->slots) {
    if (slot.state == Slot::State::free) continue;
    if (slot.pid == MyProcPid) return before >= guc::max_workers;
    ++before;
  }
  return false;
}

} // namespace dbops::server

using namespace dbops::server;

void dbops_dispatcher_main(Datum argument) {
  const Oid database = DatumGetObjectId(argument);
  pqsignal(SIGTERM, die);
  {
    SharedLock lock;
    if (DatabaseEntry* entry = find_database(database, true)) entry->dispatcher = MyProcPid;
  }
  before_shmem_exit(dispatcher_ended, argument);
  BackgroundWorkerUnblockSignals();
  const bool connected = boundary([database] { return connect_dispatcher(database); });
  dispatcher_stage = DispatcherStage::working;
  if (!connected) proc_exit(0);
  // It may never wait for a lock longer than a DROP DATABASE would wait for it.
  plain_session();
  SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
  give_way_to_others();
  SetConfigOption("synchronous_commit", "local", PGC_USERSET, PGC_S_OVERRIDE);
  boundary([] { dispatcher_work(); });
  dispatcher_stage = DispatcherStage::finished;
  proc_exit(0);
}

void dbops_worker_main(Datum) {
  WorkerOrder order;
  std::memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof order);
  pqsignal(SIGTERM, die);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  if (!take_slot(order)) proc_exit(0);
  before_shmem_exit(worker_ended, Int32GetDatum(order.slot));
  BackgroundWorkerUnblockSignals();
  if (database_is_held(order.database)) proc_exit(0);
  BackgroundWorkerInitializeConnectionByOid(order.database, order.owner, compat::nologin_worker_flag);
  schedule::remember_session_settings();
  plain_session();
  pgstat_report_appname("dbops worker");
  // What is set for the role is meant for its own statements; the batches have their own, and the bookkeeping none.
  SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
  give_way_to_others();
  boundary([&order] { worker_work(order); });
  proc_exit(0);
}
