#include "server/engine/toplevel.h"

#include "server/compat.h"

extern "C" {
#include "pgstat.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
}

namespace dbops::server {

namespace {

// parse_memory outlives the transactions that the statement begins and ends.
void execute(const char* sql, MemoryContext parse_memory) {
  MemoryContext previous = MemoryContextSwitchTo(parse_memory);
  List* parsed = pg_parse_query(sql);
  auto* statement = linitial_node(RawStmt, parsed);
  PushActiveSnapshot(GetTransactionSnapshot());
  List* rewritten = pg_analyze_and_rewrite_fixedparams(statement, sql, nullptr, 0, nullptr);
  List* plans = pg_plan_queries(rewritten, sql, CURSOR_OPT_PARALLEL_OK, nullptr);
  PopActiveSnapshot();
  Portal portal = CreatePortal("", true, true);
  portal->visible = false;
  PortalDefineQuery(portal, nullptr, sql, CreateCommandTag(statement->stmt), plans, nullptr);
  PortalStart(portal, nullptr, 0, InvalidSnapshot);
  DestReceiver* receiver = CreateDestReceiver(DestNone);
  MemoryContextSwitchTo(previous);
  QueryCompletion completion;
  compat::run_portal(portal, receiver, &completion);
  receiver->rDestroy(receiver);
  PortalDrop(portal, false);
}

void set(const std::string& name, const std::string& value) {
  call_pg([&name, &value] {
    (void)set_config_option(name.c_str(), value.c_str(), PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
  });
}

// Settings that outlive the transactions that VACUUM makes of its statement, and are put back afterwards.
class SettingsBetween {
 public:
  explicit SettingsBetween(const Settings& settings) {
    for (const auto& [name, value] : settings) {
      const char* old = call_pg([&name = name] { return GetConfigOption(name.c_str(), true, false); });
      before_.emplace_back(name, old == nullptr ? "" : old);
    }
    for (const auto& [name, value] : settings)
      set(name, value);
  }
  ~SettingsBetween() {
    try {
      for (const auto& [name, value] : before_)
        set(name, value);
    } catch (const SqlError&) { // they were accepted before
    }
  }
  SettingsBetween(const SettingsBetween&) = delete;
  SettingsBetween& operator=(const SettingsBetween&) = delete;

 private:
  Settings before_;
};

// While it is set, who waits for a lock of this process cancels its statement after deadlock_timeout, as he would
// cancel an autovacuum (proc.c, ProcSleep).
class GivesWay {
 public:
  explicit GivesWay(bool wanted) : wanted_(wanted) {
    if (wanted_) flag(true);
  }
  ~GivesWay() {
    if (!wanted_) return;
    flag(false);
    QueryCancelPending = false; // who waited may have cancelled a statement that was just over; a pause is in the table
  }
  GivesWay(const GivesWay&) = delete;
  GivesWay& operator=(const GivesWay&) = delete;

 private:
  static void flag(bool on) noexcept {
    LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
    if (on)
      MyProc->statusFlags |= PROC_IS_AUTOVACUUM;
    else
      MyProc->statusFlags &= ~PROC_IS_AUTOVACUUM;
    ProcGlobal->statusFlags[MyProc->pgxactoff] = MyProc->statusFlags;
    LWLockRelease(ProcArrayLock);
  }
  const bool wanted_;
};

} // namespace

void run_top_level(const std::string& sql, const Settings& settings, bool gives_way) {
  const SettingsBetween between(settings);
  const GivesWay flag(gives_way);
  MemoryContext memory =
      call_pg([] { return AllocSetContextCreate(TopMemoryContext, "dbops statement", ALLOCSET_DEFAULT_SIZES); });
  std::optional<SqlError> failure;
  const std::string activity = (gives_way ? gives_way_mark : "") + sql;
  try {
    call_pg([&sql, &activity, memory] {
      SetCurrentStatementStartTimestamp();
      pgstat_report_activity(STATE_RUNNING, activity.c_str());
      StartTransactionCommand();
      execute(sql.c_str(), memory);
      CommitTransactionCommand();
    });
  } catch (const SqlError& error) {
    failure = error;
    call_pg([] { AbortCurrentTransaction(); });
  }
  call_pg([memory] {
    MemoryContextDelete(memory);
    pgstat_report_stat(true);
    pgstat_report_activity(STATE_IDLE, nullptr);
  });
  if (failure) throw *failure;
}

} // namespace dbops::server
