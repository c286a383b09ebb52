// The launcher: one process, connected to no database. It knows which databases have work (they say so in shared
// memory; after a start it looks once at each) and asks for a dispatcher there. It wakes when told, when something
// falls due, and otherwise once a minute.

#include <algorithm>
#include <csignal>
#include <iterator>
#include <map>
#include <utility>

#include "server/engine/clock_watch.h"
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
constexpr std::int64_t comes_within = 30 * USECS_PER_SEC; // a process that was asked for
constexpr std::int64_t retry_us = USECS_PER_SEC;
constexpr int overflow_pause_ms = 10'000;

// Databases that may be connected to, by OID. Templates too: a job may have been made there.
std::vector<Oid> list_databases() {
  struct Found {
    int count;
    int room;
    Oid* oids;
  };
  const Found found = call_pg([] {
    Found list{0, 256, static_cast<Oid*>(MemoryContextAlloc(TopMemoryContext, 256 * sizeof(Oid)))};
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    Relation catalog = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(catalog, 0, nullptr);
    for (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection); HeapTupleIsValid(tuple);
         tuple = heap_getnext(scan, ForwardScanDirection)) {
      auto* row = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
      // A datconnlimit of -2 marks a database whose DROP was interrupted.
      if (!row->datallowconn || row->datconnlimit == -2) continue;
      if (list.count == list.room) list.oids = static_cast<Oid*>(repalloc(list.oids, sizeof(Oid) * (list.room *= 2)));
      list.oids[list.count++] = row->oid;
    }
    table_endscan(scan);
    table_close(catalog, AccessShareLock);
    PopActiveSnapshot();
    CommitTransactionCommand();
    return list;
  });
  std::vector<Oid> databases(found.oids, found.oids + found.count);
  pfree(found.oids);
  std::sort(databases.begin(), databases.end());
  return databases;
}

// What the launcher alone knows; what concerns a database with work is in shared memory.
struct Databases {
  std::vector<Oid> known;           // by OID
  std::vector<Oid> to_visit;        // in which nobody has looked yet; from the back
  std::map<Oid, TimestampTz> later; // when something falls due in those that were to make room in shared memory
  TimestampTz listed = 0;
  TimestampTz visited_all = 0;
  std::size_t turn = 0; // of the entry that is looked at first, so that one that is always due does not hold up others
};

// Looks which databases there are: at all of them, or at those that have come.
void refresh(Databases& databases, bool visit_all, TimestampTz now) {
  std::vector<Oid> all = list_databases();
  std::vector<Oid> visit;
  if (visit_all)
    visit = all;
  else
    std::copy_if(all.begin(), all.end(), std::back_inserter(visit), [&databases](Oid database) {
      return !std::binary_search(databases.known.begin(), databases.known.end(), database) ||
             std::find(databases.to_visit.begin(), databases.to_visit.end(), database) != databases.to_visit.end();
    });
  databases.known = std::move(all);
  databases.to_visit = std::move(visit);
  databases.listed = now;
  if (visit_all) {
    databases.visited_all = now;
    databases.later.clear();
  }
  std::erase_if(databases.later, [&databases](const auto& one) {
    return !std::binary_search(databases.known.begin(), databases.known.end(), one.first);
  });
  SharedLock lock;
  for (DatabaseEntry& entry : shared()->databases)
    if (entry.database != InvalidOid && entry.dispatcher == 0 &&
        !std::binary_search(databases.known.begin(), databases.known.end(), entry.database))
      entry = DatabaseEntry{};
}

// When something was said about databases, and otherwise now and then.
void refresh_if_due(Databases& databases, TimestampTz now) {
  bool relist = false;
  bool overflow = false;
  {
    SharedLock lock;
    relist = std::exchange(shared()->relist, false);
    // Without room for more it would be so again at once.
    overflow = shared()->overflow && TimestampDifferenceExceeds(databases.visited_all, now, overflow_pause_ms);
    if (overflow) shared()->overflow = false;
  }
  const bool housekeeping = now >= databases.visited_all + guc::housekeeping_interval * USECS_PER_SEC;
  if (relist || overflow || housekeeping || TimestampDifferenceExceeds(databases.listed, now, 300'000))
    refresh(databases, overflow || housekeeping, now);
}

bool process_is_gone(int pid) {
  return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

// Dispatchers and workers that never came up (fork failed) or ended without saying so. next: when one that is still on
// its way would have to be here.
void sweep_dead(TimestampTz now, TimestampTz& next) {
  const auto is_overdue = [now, &next](TimestampTz since) {
    if (now - since > comes_within) return true;
    next = std::min(next, since + comes_within + 1'000);
    return false;
  };
  const SharedLock lock;
  for (DatabaseEntry& entry : shared()->databases)
    if (entry.dispatcher != 0 &&
        (process_is_gone(entry.dispatcher) || (entry.dispatcher < 0 && is_overdue(entry.started)))) {
      entry.dispatcher = 0;
      entry.scan = true;
    }
  for (Slot& slot : shared()->slots) {
    const bool on_its_way = slot.state == Slot::State::reserved || slot.state == Slot::State::wanted;
    const bool never_came = on_its_way && is_overdue(slot.since);
    if (!never_came && !(slot.state == Slot::State::running && process_is_gone(slot.pid))) continue;
    const Oid database = slot.database;
    slot = Slot{};
    mark_due(database);
    mark_waiting();
  }
}

// There may be more databases with schedules than there are entries. What is only due later the launcher can remember
// by itself: who has something to say of such a database makes it an entry again.
void make_room(Databases& databases, TimestampTz now) {
  constexpr std::ptrdiff_t few = max_databases / 8;
  SharedLock lock;
  if (std::count_if(std::begin(shared()->databases), std::end(shared()->databases),
                    [](const DatabaseEntry& entry) { return entry.database == InvalidOid; }) >= few)
    return;
  for (DatabaseEntry& entry : shared()->databases) {
    if (entry.database == InvalidOid || entry.dispatcher != 0 || entry.scan || entry.backlog || entry.due <= now)
      continue;
    if (entry.due != DT_NOEND) {
      const auto [one, is_new] = databases.later.try_emplace(entry.database, entry.due);
      one->second = std::min(one->second, entry.due);
    }
    entry = DatabaseEntry{};
  }
}

// Those of which the time has come are looked at.
void remember(Databases& databases, TimestampTz now, TimestampTz& next) {
  for (auto one = databases.later.begin(); one != databases.later.end();) {
    if (one->second > now) {
      next = std::min(next, one->second);
      ++one;
      continue;
    }
    if (std::find(databases.to_visit.begin(), databases.to_visit.end(), one->first) == databases.to_visit.end())
      databases.to_visit.push_back(one->first);
    one = databases.later.erase(one);
  }
}

// A database to be looked at now, while there may be another dispatcher; otherwise the time of the next thing to do.
Oid next_database(Databases& databases, TimestampTz now, TimestampTz& next) {
  SharedLock lock;
  int running = 0;
  for (const DatabaseEntry& entry : shared()->databases)
    running += entry.database != InvalidOid && entry.dispatcher != 0 ? 1 : 0;
  const bool room = running < max_dispatchers;
  for (std::size_t i = 0; i < max_databases; ++i) {
    const std::size_t place = (databases.turn + i) % max_databases;
    const DatabaseEntry& entry = shared()->databases[place];
    if (entry.database == InvalidOid || entry.dispatcher != 0) continue;
    const TimestampTz hold = held_until(entry.database);
    const TimestampTz due = std::max(hold, entry.scan ? TimestampTz{0} : entry.due);
    if (due > now)
      next = std::min(next, due);
    else if (room) {
      databases.turn = place + 1;
      return entry.database;
    }
  }
  if (!room || databases.to_visit.empty()) return InvalidOid; // the end of a dispatcher wakes the launcher
  const Oid database = databases.to_visit.back();
  DatabaseEntry* entry = find_database(database, true);
  if (entry == nullptr) { // no place: the end of a dispatcher, or of work, makes one
    next = std::min(next, now + USECS_PER_SEC);
    return InvalidOid;
  }
  databases.to_visit.pop_back();
  if (entry->dispatcher == 0 && held_until(database) == 0) return database;
  entry->scan = true; // later: it is held, or looked at by a dispatcher that an earlier launcher has sent
  next = now;
  return InvalidOid;
}

// Slots whose worker got no process: it has become free, or another one. False: still none.
bool start_wanted(TimestampTz now, TimestampTz& next) {
  for (int i = 0; i < max_slots; ++i) {
    TimestampTz since = 0;
    {
      SharedLock lock;
      Slot& slot = shared()->slots[i];
      if (slot.state != Slot::State::wanted) continue;
      since = slot.since;
    }
    if (start_reserved({i, since})) continue;
    want_process({i, since});
    // The dispatcher that has left it may not be buried yet.
    next = std::min(next, now + (TimestampDifferenceExceeds(since, now, 1'000) ? USECS_PER_SEC : USECS_PER_SEC / 20));
    return false;
  }
  return true;
}

// There are more slots than before: who waits for one may look again, and who is looking at the moment, as he counts
// with as many as there were.
void scan_backlogs() {
  SharedLock lock;
  for (DatabaseEntry& entry : shared()->databases)
    if (entry.database != InvalidOid && (entry.backlog || entry.dispatcher != 0)) entry.scan = true;
}

// Has the clock been set back since the last look? What was to be due at a time is then further away than it should be.
bool clock_went_back(TimestampTz now) {
  using Steady = std::chrono::steady_clock;
  static TimestampTz wall = now;
  static Steady::time_point steady = Steady::now();
  const TimestampTz wall_before = std::exchange(wall, now);
  const auto passed =
      std::chrono::duration_cast<std::chrono::microseconds>(Steady::now() - std::exchange(steady, Steady::now()));
  return now - wall_before < passed.count() - USECS_PER_SEC;
}

void scan_all(Databases& databases) {
  for (auto& [database, due] : databases.later)
    due = 0;
  SharedLock lock;
  for (DatabaseEntry& entry : shared()->databases)
    if (entry.database != InvalidOid) entry.scan = true;
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

void at_exit(int, Datum) {
  announce_launcher(false);
}

// Once, until there is one again.
void tell_of_processes(bool refused) {
  static bool complained = false;
  {
    SharedLock lock;
    shared()->short_of_processes = refused;
  }
  if (refused && !complained)
    call_pg([] {
      ereport(WARNING, (errmsg("dbops: no free background worker process, jobs stay queued"),
                        errhint("Raise max_worker_processes.")));
    });
  complained = refused;
}

void work() {
  Databases databases;
  refresh(databases, true, GetCurrentTimestamp());
  while (!ShutdownRequestPending) {
    const TimestampTz now = GetCurrentTimestamp();
    refresh_if_due(databases, now);
    TimestampTz next = databases.visited_all + guc::housekeeping_interval * USECS_PER_SEC;
    sweep_dead(now, next);
    if (clock_went_back(now)) scan_all(databases);
    note_clock();
    make_room(databases, now);
    remember(databases, now, next);
    if (shared()->overflow) next = std::min(next, databases.visited_all + overflow_pause_ms * INT64CONST(1000));
    bool refused = !start_wanted(now, next);
    const bool waits_for_dispatcher = refused && next < now + USECS_PER_SEC;
    // A dispatcher would take the process that a worker waits for.
    for (Oid due = InvalidOid; !refused && OidIsValid(due = next_database(databases, now, next));) {
      refused = !launch(due, now);
      next = std::min(next, now + comes_within + 1'000);
    }
    if (refused && !waits_for_dispatcher) next = std::min(next, now + retry_us);
    if (!waits_for_dispatcher) tell_of_processes(refused);
    const int slots = guc::max_workers;
    nap(until(next, now));
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
