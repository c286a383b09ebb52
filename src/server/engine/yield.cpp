#include "server/engine/yield.h"

#include <csignal>

#include "server/compat.h"
#include "server/engine/shared.h"
#include "server/engine/wake.h"
#include "server/guard.h"

extern "C" {
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
}

namespace dbops::server {

namespace {

ProcessUtility_hook_type previous_hook = nullptr;

constexpr int leave_within_ms = 4'000; // PostgreSQL itself then waits up to 5 s for what is left
constexpr std::int64_t longest_hold_us = 60'000'000;

const char* option(List* options, const char* name) {
  ListCell* cell = nullptr;
  foreach (cell, options) {
    auto* element = static_cast<DefElem*>(lfirst(cell));
    if (std::strcmp(element->defname, name) == 0 && element->arg != nullptr) return defGetString(element);
  }
  return nullptr;
}

// The database that the statement needs for itself; InvalidOid for all others, and for who may not do it anyway.
Oid database_wanted(Node* statement) {
  const char* name = nullptr;
  switch (nodeTag(statement)) {
  case T_DropdbStmt:
    name = reinterpret_cast<DropdbStmt*>(statement)->dbname;
    break;
  case T_RenameStmt:
    if (reinterpret_cast<RenameStmt*>(statement)->renameType == OBJECT_DATABASE)
      name = reinterpret_cast<RenameStmt*>(statement)->subname;
    break;
  case T_CreatedbStmt:
    name = option(reinterpret_cast<CreatedbStmt*>(statement)->options, "template");
    break;
  case T_AlterDatabaseStmt:
    if (option(reinterpret_cast<AlterDatabaseStmt*>(statement)->options, "tablespace") != nullptr)
      name = reinterpret_cast<AlterDatabaseStmt*>(statement)->dbname;
    break;
  default:
    break;
  }
  if (name == nullptr) return InvalidOid;
  const Oid database = get_database_oid(name, true);
  if (!OidIsValid(database) || !(superuser() || compat::owns_database(database, GetUserId()))) return InvalidOid;
  return database;
}

// Processes of dbops that are still in the database; tells workers to go.
int ask_to_leave(Oid database, bool again) {
  SharedLock lock;
  int left = 0;
  for (Slot& slot : shared()->slots) {
    if (slot.state == Slot::State::free || slot.database != database) continue;
    ++left;
    // Not each time: it would cancel the worker's last word as well.
    if (slot.pid != 0 && (!slot.leave || again)) kill(slot.pid, SIGINT);
    slot.leave = true;
  }
  const DatabaseEntry* entry = find_database(database, false);
  if (entry != nullptr && entry->dispatcher != 0) ++left;
  return left;
}

void hold(Oid database) {
  {
    SharedLock lock;
    if (DatabaseEntry* entry = find_database(database, true)) entry->hold = GetCurrentTimestamp() + longest_hold_us;
  }
  for (int waited = 0; ask_to_leave(database, waited % 500 == 0) > 0 && waited < leave_within_ms; waited += 10) {
    CHECK_FOR_INTERRUPTS();
    pg_usleep(10'000);
  }
}

void release(Oid database) {
  {
    SharedLock lock;
    if (DatabaseEntry* entry = find_database(database, false)) {
      entry->hold = 0;
      entry->scan = true;
    }
    for (Slot& slot : shared()->slots)
      if (slot.database == database) slot.leave = false;
  }
  wake_launcher();
}

void run_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                 ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* destination, QueryCompletion* completion) {
  (previous_hook != nullptr ? previous_hook : standard_ProcessUtility)(statement, text, read_only_tree, context, parameters,
                                                                      environment, destination, completion);
}

// Called by PostgreSQL with plain C rules: no object with a destructor in this frame.
void process_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                     ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* destination,
                     QueryCompletion* completion) {
  const Oid database = database_wanted(statement->utilityStmt);
  if (!OidIsValid(database)) {
    run_utility(statement, text, read_only_tree, context, parameters, environment, destination, completion);
    return;
  }
  PG_TRY();
  {
    hold(database);
    run_utility(statement, text, read_only_tree, context, parameters, environment, destination, completion);
    relist_databases_at_commit(); // before it, the launcher cannot see what has changed
  }
  PG_FINALLY();
  { release(database); }
  PG_END_TRY();
}

} // namespace

void install_yield_hook() {
  previous_hook = ProcessUtility_hook;
  ProcessUtility_hook = process_utility;
}

} // namespace dbops::server
