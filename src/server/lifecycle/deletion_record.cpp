#include "server/lifecycle/deletion_record.h"

#include "server/guc.h"

namespace dbops::server::lifecycle {

void DeletionRecord::add(std::int64_t rows, const std::string& first_key, const std::string& last_key) {
  if (rows == 0) return;
  // A number is not given back by a rollback: the row of it may be there or not.
  if (id_ == 0) id_ = bookkeep("SELECT nextval('dbops.deletion_record_record_id_seq')").integer(0, 0);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started_;
  bookkeep(
      "INSERT INTO dbops.deletion_record AS r (record_id, target_oid, target_name, condition, owner_oid, owner_name,"
      " actor_oid, actor_name, pid, started_at, rows, first_key, last_key) VALUES ($1::bigint, $2::oid, $3, $4,"
      " $5::oid, $6, $7::oid, $8, pg_backend_pid(), clock_timestamp() - $9::float8 * interval '1 second',"
      " $10::bigint, $11, $12) ON CONFLICT (record_id) DO UPDATE SET rows = r.rows + excluded.rows,"
      " last_key = excluded.last_key, last_at = clock_timestamp()",
      {to_text(id_), to_text(table_), table_name_, condition_, to_text(owner_), role_name(owner_), to_text(GetUserId()),
       role_name(GetUserId()), std::to_string(elapsed.count()), to_text(rows), first_key, last_key});
}

void DeletionRecord::finish(const char* state, const Value& error) const {
  bookkeep("UPDATE dbops.deletion_record SET state = $2, last_error = $3, last_at = clock_timestamp()"
           " WHERE record_id = $1::bigint",
           {to_text(id_), state, error});
}

void DeletionRecord::finish(Session& session) {
  if (id_ == 0) return;
  session.transaction([this] {
    finish("succeeded", std::nullopt);
    return true;
  });
}

void DeletionRecord::finish(Session& session, const SqlError& error) noexcept {
  if (id_ == 0) return;
  try {
    session.transaction([&] {
      finish(error.code == ERRCODE_QUERY_CANCELED ? "cancelled" : "failed", error.message);
      return true;
    });
  } catch (const SqlError&) { // the error that is on its way says more
  }
}

void prune_deletion_records() {
  if (guc::history_retention_days < 0) return;
  bookkeep("DELETE FROM dbops.deletion_record WHERE last_at < clock_timestamp() - $1::integer * interval '1 day'",
           {to_text(guc::history_retention_days)});
}

} // namespace dbops::server::lifecycle
