#include "server/backfill/trigger_filter.h"

extern "C" {
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"
}

namespace dbops::server {

namespace {

ExecutorStart_hook_type previous_hook = nullptr;
Oid armed = InvalidOid;

// InitResultRelInfo made this copy of the relation's triggers for the one statement (CopyTriggerDesc).
void leave_out_user_triggers(TriggerDesc* triggers) {
  for (int i = 0; i < triggers->numtriggers; ++i) {
    Trigger& trigger = triggers->triggers[i];
    if (!trigger.tgisinternal && trigger.tgenabled != TRIGGER_FIRES_ALWAYS) trigger.tgenabled = TRIGGER_DISABLED;
  }
}

} // namespace

static void executor_start(QueryDesc* query, int flags) {
  if (previous_hook != nullptr)
    previous_hook(query, flags);
  else
    standard_ExecutorStart(query, flags);
  if (!OidIsValid(armed) || (query->operation != CMD_UPDATE && query->operation != CMD_DELETE)) return;
  ListCell* cell = nullptr;
  foreach (cell, query->estate->es_opened_result_relations) {
    auto* result = static_cast<ResultRelInfo*>(lfirst(cell));
    if (RelationGetRelid(result->ri_RelationDesc) != armed) continue;
    if (result->ri_TrigDesc != nullptr) leave_out_user_triggers(result->ri_TrigDesc);
    armed = InvalidOid; // the statement's own, not those that its triggers and functions run
  }
}

void install_trigger_filter() {
  previous_hook = ExecutorStart_hook;
  ExecutorStart_hook = executor_start;
}

namespace backfill {

void arm_trigger_filter(Oid relation) noexcept {
  armed = relation;
}
void disarm_trigger_filter() noexcept {
  armed = InvalidOid;
}

} // namespace backfill

} // namespace dbops::server
