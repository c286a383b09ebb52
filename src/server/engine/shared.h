// What the launcher, the dispatchers and the workers share in memory: counters, slots and a latch. Nothing here is
// truth: a crash empties it and the tables have the rest (DESIGN.md, section 3).
#pragma once

#include "server/pg.h"

extern "C" {
#include "storage/latch.h"
#include "storage/lwlock.h"
}

namespace dbops::server {

// A place for one job worker. Taken by the dispatcher before it asks for the process, freed when the process ends.
struct Slot {
  // wanted: there was no free process; the launcher asks for one when the dispatcher has gone and left its own.
  enum class State { free, wanted, reserved, running };
  State state;
  Oid database;
  Oid owner;
  std::int64_t job;
  int slice;
  int pid; // 0 until the worker runs
  TimestampTz since;
  bool leave;   // asked to stop after rolling its statement back, because of its database
  Oid given_to; // a database for whose scheduled command its job leaves it; the process may take a while to end
};

struct DatabaseEntry {
  Oid database;         // InvalidOid: free
  bool scan;            // something is due now
  bool backlog;         // work is waiting for a slot, or for a process
  bool slot_missing;    // for a slot alone
  TimestampTz due;      // when something will be due; DT_NOEND: nothing
  int dispatcher;       // pid of the dispatcher that runs, -1 while it is starting, 0 none
  TimestampTz started;  // of that dispatcher
  int commands;         // scheduled commands that wait for a slot, for which jobs are to give theirs back
  int command_priority; // the highest of theirs
  std::int64_t said;    // when a look has last found a backlog, by Shared::looks
  std::int64_t over;    // scheduled commands that have had a slot, and have left it
};

// A session that needs a database for itself: no process may connect before `until`, or before it has let go.
struct Hold {
  Oid database; // InvalidOid: free
  int pid;
  TimestampTz until;
};

inline constexpr int max_slots = 128;
inline constexpr int max_databases = 1024; // that have work, or are being looked at; there may be more
inline constexpr int max_holds = 64;

struct Shared {
  LWLock* lock;
  int launcher_pid;
  Latch* launcher;         // valid while launcher_pid is not 0
  bool overflow;           // a database found no entry: look at all of them again
  bool relist;             // databases have come or gone
  std::int64_t looks;      // counts beginnings and findings of looks: a clock that nobody sets back
  bool restored;           // this start of the server was one from a backup: see was_restored()
  bool short_of_processes; // the postmaster refused one when last asked
  Slot slots[max_slots];
  DatabaseEntry databases[max_databases];
  Hold holds[max_holds];
};

// Null when dbops is not in shared_preload_libraries.
Shared* shared() noexcept;

// Whether the server was started to recover from an archive and to be a primary then: after a restore, to a moment in
// the past perhaps. Not a standby, which is promoted. Without the lock.
bool was_restored() noexcept;

void install_shared_memory(); // in _PG_init of a preloaded library

// Holds the lock for a scope; what is done under it must not raise.
class SharedLock {
 public:
  SharedLock() { LWLockAcquire(shared()->lock, LW_EXCLUSIVE); }
  ~SharedLock() { LWLockRelease(shared()->lock); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;
};

// Under the lock. Null when there is no entry, and, with `create`, no room for one.
DatabaseEntry* find_database(Oid database, bool create);
// Under the lock: something is due there now. Where there is no room for an entry, all databases are looked at again.
void mark_due(Oid database);
// Who waits for a slot, or a process, may look again. Under the lock; the launcher is to be woken then.
void mark_waiting();
// Under the lock: the slot is given up, or gets another assignment.
void note_command_over(const Slot& slot);
// Under the lock. When it may be connected to: the latest `until` of those that hold it, 0 when nobody does.
TimestampTz held_until(Oid database);

// A scheduled command waits for a slot, and a job of that priority has to give it one back: true for as many callers as
// there are commands that wait. Without the lock.
bool give_slot_back(int priority);

// Tells the launcher that a database has work. Without the lock; harmless when nothing is preloaded.
void announce_work(Oid database);
void wake_launcher();

} // namespace dbops::server
