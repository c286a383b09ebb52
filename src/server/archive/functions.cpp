// dbops.check and dbops.take_over_archive.

#include "core/wal/repository.h"
#include "server/archive/checks.h"
#include "server/archive/session_task.h"
#include "server/archive/shared.h"
#include "server/arguments.h"
#include "server/lifecycle/waiting.h"

extern "C" {
#include "access/xlog.h"
#include "funcapi.h"
#include "postmaster/pgarch.h"
}

using namespace dbops::server;
using namespace dbops::server::archive;
namespace core = dbops::core;

namespace {

constexpr double longest_timeout = 3600; // seconds

const char* severity_name(Severity severity) {
  switch (severity) {
  case Severity::info:
    return "info";
  case Severity::warning:
    return "warning";
  case Severity::error:
    break;
  }
  return "error";
}

void put_row(FunctionCallInfo fcinfo, const Check& check) {
  call_pg([&] {
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    Datum values[] = {CStringGetTextDatum(check.name.c_str()), BoolGetDatum(check.ok),
                      CStringGetTextDatum(severity_name(check.severity)), CStringGetTextDatum(check.detail.c_str()),
                      CStringGetTextDatum(check.hint.c_str())};
    bool nulls[] = {false, false, false, false, check.hint.empty()};
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  });
}

// Purges and rules of retention of this database; no row where there are none.
std::vector<Check> deletion_checks() {
  const lifecycle::WaitingDeletions deletions = lifecycle::waiting_deletions();
  std::vector<Check> checks;
  for (const lifecycle::Waiting& one : deletions.waiting)
    checks.push_back({.name = one.name,
                      .ok = false,
                      .severity = Severity::warning,
                      .detail = one.why,
                      .hint = one.remedy + " lets it go on; look first at what it would delete."});
  if (checks.empty() && deletions.rules > 0)
    checks.push_back({.name = "deletions",
                      .ok = true,
                      .severity = Severity::warning,
                      .detail = std::to_string(deletions.rules) + " rules, none waits for a confirmation",
                      .hint = {}});
  return checks;
}

struct TakeOver {
  std::optional<core::TimelineClaim> claim;
  std::optional<ThreadFailure> failure;
};

std::string take_over(const std::string& url, const Settings& settings, const Cluster& cluster,
                      core::TimelineId timeline) {
  const TakeOver result = in_thread<TakeOver>([=](const std::stop_token& stop) {
    TakeOver done;
    try {
      const RepositoryAccess access = open_repository(url, settings, cluster);
      const core::CallContext context{.stop = stop, .deadline = thread_clock().steady_now() + settings.upload_timeout};
      access.fence->accept_empty_store();
      access.fence->require_repository(context);
      done.claim = core::take_over_timeline(*access.store, cluster.system_identifier, timeline, cluster.owner,
                                            thread_clock().wall_now(), context);
    } catch (...) {
      done.failure = describe_thread_failure();
    }
    return done;
  });
  if (result.failure) throw SqlError(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, result.failure->message, result.failure->hint);
  return "timeline " + std::to_string(timeline) + " of " + url + " is instance " + cluster.owner.instance +
         "'s, epoch " + std::to_string(result.claim->epoch);
}

// Raises unless a superuser asks a primary that has a store.
core::TimelineId require_primary() {
  if (!superuser()) throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "only a superuser may take over an archive");
  if (RecoveryInProgress())
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the server is in recovery",
                   "A standby gets a timeline of its own when it is promoted.");
  core::TimelineId timeline = 0;
  (void)GetFlushRecPtr(&timeline);
  return timeline;
}

} // namespace

DBOPS_SQL_FUNCTION(dbops_check) {
  return boundary([fcinfo]() -> Datum {
    Arguments in(fcinfo);
    const auto seconds = in.seconds();
    if (!seconds || !(*seconds > 0) || *seconds > longest_timeout)
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "timeout must be more than 0 and at most an hour");
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    for (const Check& check : run_checks(core::milliseconds(static_cast<std::int64_t>(*seconds * 1000))))
      put_row(fcinfo, check);
    for (const Check& check : deletion_checks())
      put_row(fcinfo, check);
    return static_cast<Datum>(0);
  });
}

DBOPS_SQL_FUNCTION(dbops_take_over_archive) {
  return boundary([fcinfo]() -> Datum {
    (void)fcinfo;
    const core::TimelineId timeline = require_primary();
    const Settings settings = current_settings();
    if (settings.store.empty())
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "dbops.store is not set", "Set it, and reload.");
    const Cluster cluster = this_cluster();
    std::string report = take_over(settings.store, settings, cluster, timeline);
    if (!settings.offsite_store.empty())
      report += "; " + take_over(settings.offsite_store, settings, cluster, timeline);
    log_line(false, "archive taken over: " + report);
    with_archive_shared([](ArchiveShared& memory) {
      if (memory.streamer_pid != 0) SetLatch(memory.streamer);
    });
    return call_pg([&] {
      PgArchWakeup();
      return CStringGetTextDatum(report.c_str());
    });
  });
}
