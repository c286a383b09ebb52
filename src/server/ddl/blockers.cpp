#include "server/ddl/blockers.h"

#include "server/ddl/catalog.h"
#include "server/engine/toplevel.h"

namespace dbops::server::ddl {

namespace {

// Modes that conflict with a lock (lock.c, LockConflicts), as pg_locks names them.
const char* conflicts(Lock lock) {
  switch (lock) {
  case Lock::access_exclusive:
    return "{AccessShareLock,RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,"
           "ExclusiveLock,AccessExclusiveLock}";
  case Lock::share_row_exclusive:
    return "{RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,"
           "AccessExclusiveLock}";
  case Lock::share:
    return "{RowExclusiveLock,ShareUpdateExclusiveLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}";
  case Lock::share_update_exclusive:
    break;
  }
  return "{ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}";
}

} // namespace

std::string holders(const std::vector<Oid>& relations, Lock lock, std::chrono::milliseconds older_than) {
  // An autovacuum is cancelled by who waits for its lock (proc.c, ProcSleep), unless it is against wraparound; so is
  // what a worker of dbops does that gives way.
  const Rows found = bookkeep(
      "SELECT pg_catalog.string_agg(d, '; ' ORDER BY d) FROM (SELECT DISTINCT CASE WHEN l.pid IS NULL"
      "   THEN 'a prepared transaction' || coalesce((SELECT pg_catalog.format(' %L since %s', x.gid, "
      "pg_catalog.to_char("
      "x.prepared, 'YYYY-MM-DD HH24:MI:SS')) FROM pg_catalog.pg_locks o JOIN pg_catalog.pg_prepared_xacts x ON "
      "x.transaction = o.transactionid WHERE o.locktype = 'transactionid' AND o.granted AND o.pid IS NULL AND "
      "o.virtualtransaction = l.virtualtransaction), '')"
      "   ELSE dbops.describe_process(l.pid) END AS d"
      " FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
      " WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1::oid[]) AND l.mode = ANY ($2::text[])"
      " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
      " AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()"
      " AND (a.backend_type IS DISTINCT FROM 'autovacuum worker' OR a.query LIKE '%(to prevent wraparound)%')"
      " AND NOT coalesce(a.backend_type LIKE 'dbops %' AND pg_catalog.starts_with(a.query, $4::text), false)"
      " AND (a.xact_start IS NULL OR a.xact_start <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => "
      "$3::float8))) h",
      {oid_array(relations), conflicts(lock), std::to_string(std::chrono::duration<double>(older_than).count()),
       gives_way_mark});
  return found.text(0, 0);
}

} // namespace dbops::server::ddl
