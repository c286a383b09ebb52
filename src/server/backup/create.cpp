// dbops.backup: checks the arguments and the server, and makes a job.

#include "core/text/json_text.h"
#include "server/arguments.h"
#include "server/backup/archiving_primary.h"
#include "server/backup/spec.h"
#include "server/compat.h"
#include "server/engine/job_record.h"
#include "server/engine/shared.h"
#include "server/engine/wake.h"
#include "server/guc.h"

extern "C" {
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_authid.h"
#include "postmaster/pgarch.h"
#include "storage/lock.h"
#include "utils/syscache.h"
}

namespace dbops::server::backup {

namespace {

using nlohmann::json;

constexpr int most_threads = 64;
constexpr double longest_archive_timeout = 86'400;    // seconds
constexpr std::size_t largest_annotations = 64 << 10; // bytes of their JSON
constexpr std::size_t longest_label = 1000;           // bytes

constexpr std::uint16_t backup_lock_class = 0xDD; // as the engine's other locks: no user can take it

struct Request {
  Spec spec;
  int priority = 0;
};

[[noreturn]] void bad_argument(const std::string& message, const std::string& hint = {}) {
  throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
}

std::map<std::string, std::string> read_annotations(const std::string& text) {
  const json given = core::parse_json_text(text);
  if (!given.is_object()) bad_argument("annotations must be an object", R"(For example '{"ticket": "OPS-12"}'.)");
  if (text.size() > largest_annotations)
    bad_argument("annotations are larger than " + std::to_string(largest_annotations) + " bytes");
  std::map<std::string, std::string> annotations;
  for (const auto& [name, value] : given.items()) {
    if (!value.is_string() && !value.is_number() && !value.is_boolean())
      bad_argument("annotations: the value of \"" + name + "\" must be a string, a number or a boolean");
    annotations[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return annotations;
}

// In the order of the declaration in src/schema/backup.sql.
Request read_request(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  Request request;
  const std::string kind = in.string().value_or("incremental");
  if (kind != "incremental" && kind != "full")
    bad_argument("kind \"" + kind + "\" is not known", "incremental or full.");
  request.spec.full = kind == "full";
  request.spec.label = in.string().value_or("");
  if (request.spec.label.size() > longest_label)
    bad_argument("label is longer than " + std::to_string(longest_label) + " bytes");
  if (const auto annotations = in.jsonb()) request.spec.annotations = read_annotations(*annotations);
  request.spec.threads = in.integer().value_or(request.spec.threads);
  if (request.spec.threads < 1 || request.spec.threads > most_threads)
    bad_argument("threads must be between 1 and " + std::to_string(most_threads));
  request.spec.max_bytes_per_second = in.real();
  if (request.spec.max_bytes_per_second && !(*request.spec.max_bytes_per_second >= 1))
    bad_argument("max_bytes_per_second must be at least 1");
  request.spec.max_replica_lag = in.seconds();
  if (request.spec.max_replica_lag && !(*request.spec.max_replica_lag > 0))
    bad_argument("max_replica_lag must be more than 0");
  if (const auto backlog = in.bigint()) request.spec.max_archive_backlog = static_cast<double>(*backlog);
  if (request.spec.max_archive_backlog && *request.spec.max_archive_backlog < 0)
    bad_argument("max_archive_backlog must not be negative");
  request.spec.archive_timeout = in.seconds().value_or(request.spec.archive_timeout);
  if (!(request.spec.archive_timeout > 0) || request.spec.archive_timeout > longest_archive_timeout)
    bad_argument("archive_timeout must be more than 0 and at most a day");
  request.priority = in.integer().value_or(0);
  return request;
}

void require_alone() {
  // Two calls at the same moment: the second one waits for the first, and finds its job.
  LOCKTAG tag;
  SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, backup_lock_class);
  call_pg([&tag] { (void)LockAcquire(&tag, ExclusiveLock, false, false); });
  const Rows open =
      bookkeep("SELECT job_id, state FROM dbops.job WHERE kind = 'backup' AND state IN ('queued', 'running', 'paused')"
               " ORDER BY job_id LIMIT 1");
  if (open.empty()) return;
  throw SqlError(ERRCODE_OBJECT_IN_USE, "a backup is " + open.text(0, 1) + " already: job " + open.text(0, 0),
                 "One backup is taken at a time. CALL dbops.wait(" + open.text(0, 0) +
                     ") waits for it, SELECT dbops.cancel(" + open.text(0, 0) + ") ends it.");
}

std::int64_t insert_job(const Request& request) {
  const Oid owner = GetUserId();
  const Rows inserted = bookkeep(
      "INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, label, priority,"
      " spec) VALUES ('backup', 0, 'the server', $1::oid, $2, $2, nullif($3, ''), $4::integer, $5::jsonb)"
      " RETURNING job_id",
      {to_text(owner), role_name(owner), request.spec.label, to_text(request.priority),
       core::json_text(to_json(request.spec))});
  const std::string id = inserted.text(0, 0);
  bookkeep("INSERT INTO dbops.job_slice (job_id, slice) VALUES ($1::bigint, 0)", {id});
  bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, to_state) VALUES ($1::bigint, $2, 'create', 'queued')",
           {id, role_name(owner)});
  notify_state(inserted.integer(0, 0), "backup", std::nullopt, "queued");
  return inserted.integer(0, 0);
}

// Said now, when somebody is looking.
void warn_if_nobody_can_run() {
  const auto can_login = call_pg([] {
    HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
    if (!HeapTupleIsValid(tuple)) return false;
    const bool login = reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcanlogin;
    ReleaseSysCache(tuple);
    return login;
  });
  const char* why = nullptr;
  if (!can_login && !compat::nologin_workers)
    why = "the current role has no LOGIN: before PostgreSQL 17 no background worker can run the job as it; use CALL "
          "dbops.run()";
  else if (shared() == nullptr)
    why = "dbops is not in shared_preload_libraries: the job waits for CALL dbops.run()";
  if (why != nullptr) call_pg([why] { ereport(WARNING, (errmsg("%s", why))); });
}

Datum create(FunctionCallInfo fcinfo) {
  const Request request = read_request(fcinfo);
  require_archiving_primary();
  SpiConnection spi;
  require_alone();
  const std::int64_t id = insert_job(request);
  warn_if_nobody_can_run();
  announce_at_commit();
  spi.close();
  return Int64GetDatum(id);
}

} // namespace

} // namespace dbops::server::backup

DBOPS_SQL_FUNCTION(dbops_backup) {
  return dbops::server::boundary([fcinfo] { return dbops::server::backup::create(fcinfo); });
}
