#include "server/engine/toplevel.h"

#include "server/compat.h"

extern "C" {
#include "pgstat.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
}

namespace dbops::server {

namespace {

void execute(const char* sql) {
  MemoryContext parse_memory = AllocSetContextCreate(TopMemoryContext, "dbops top-level statement", ALLOCSET_DEFAULT_SIZES);
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
  MemoryContextDelete(parse_memory);
}

} // namespace

void run_top_level(const std::string& sql, const Settings& settings) {
  try {
    call_pg([&sql, &settings] {
      SetCurrentStatementStartTimestamp();
      pgstat_report_activity(STATE_RUNNING, sql.c_str());
      StartTransactionCommand();
      // For this transaction and those that the statement makes of it: VACUUM commits in between.
      for (const auto& [name, value] : settings)
        set_config_option(name.c_str(), value.c_str(), PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
      execute(sql.c_str());
      CommitTransactionCommand();
      pgstat_report_stat(true);
      pgstat_report_activity(STATE_IDLE, nullptr);
    });
  } catch (...) {
    call_pg([] {
      AbortCurrentTransaction();
      pgstat_report_activity(STATE_IDLE, nullptr);
    });
    throw;
  }
}

} // namespace dbops::server
