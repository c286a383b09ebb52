#include "server/engine/yield.h"

#include <csignal>

#include "server/compat.h"
#include "server/engine/shared.h"
#include "server/engine/wake.h"
#include "server/guard.h"

extern "C" {
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
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

bool names_dbops(DropStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->objects)
    if (std::strcmp(strVal(lfirst(cell)), "dbops") == 0) return true;
  return false;
}

// True for superusers as well, whatever they own: then the workers leave for nothing, and come back.
bool by_owner_of(Oid extension, DropOwnedStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->roles) {
    const Oid role = get_rolespec_oid(static_cast<RoleSpec*>(lfirst(cell)), true);
    if (OidIsValid(role) && has_privs_of_role(GetUserId(), role) && compat::owns_extension(extension, role))
      return true;
  }
  return false;
}

// DROP EXTENSION dbops, or DROP OWNED BY its owner, by who may: it needs the tables that the workers write.
bool drops_extension(Node* statement) {
  const bool by_name = IsA(statement, DropStmt) &&
                       reinterpret_cast<DropStmt*>(statement)->removeType == OBJECT_EXTENSION &&
                       names_dbops(reinterpret_cast<DropStmt*>(statement));
  if (!by_name && !IsA(statement, DropOwnedStmt)) return false;
  const Oid extension = get_extension_oid("dbops", true);
  if (!OidIsValid(extension)) return false;
  if (by_name) return superuser() || compat::owns_extension(extension, GetUserId());
  return by_owner_of(extension, reinterpret_cast<DropOwnedStmt*>(statement));
}

// The database that the statement needs for itself; InvalidOid for all others, and for who may not do it anyway.
Oid database_wanted(Node* statement) {
  if (drops_extension(statement)) return MyDatabaseId;
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
    if (name == nullptr) name = "template1";
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

// Processes of dbops that are still in the database, but for this one; tells workers to go.
int ask_to_leave(Oid database, bool again) {
  SharedLock lock;
  int left = 0;
  for (Slot& slot : shared()->slots) {
    if (slot.state == Slot::State::free || slot.database != database) continue;
    if (slot.pid == MyProcPid) continue; // a scheduled command that says so itself
    ++left;
    // Not each time: it would cancel the worker's last word as well.
    if (slot.pid != 0 && (!slot.leave || again)) kill(slot.pid, SIGINT);
    slot.leave = true;
  }
  const DatabaseEntry* entry = find_database(database, false);
  if (entry != nullptr && entry->dispatcher != 0) ++left;
  return left;
}

bool found_processes = false; // of dbops, by the hold of this session

void hold(Oid database) {
  found_processes = false;
  {
    SharedLock lock;
    Hold* mine = nullptr; // no place left: workers are asked to leave all the same
    for (Hold& hold : shared()->holds)
      if (hold.database == InvalidOid || hold.until <= GetCurrentTimestamp()) mine = &hold;
    if (mine != nullptr) *mine = Hold{database, MyProcPid, GetCurrentTimestamp() + longest_hold_us};
  }
  for (int waited = 0; ask_to_leave(database, waited % 500 == 0) > 0 && waited < leave_within_ms; waited += 10) {
    found_processes = true;
    CHECK_FOR_INTERRUPTS();
    pg_usleep(10'000);
  }
}

void let_go(Oid database, bool gone) {
  {
    SharedLock lock;
    for (Hold& hold : shared()->holds)
      if (hold.database == database && hold.pid == MyProcPid) hold = Hold{};
    // Who was asked to leave still leaves, and comes back: he may be about to roll back because of it.
    if (gone || (!found_processes && find_database(database, false) == nullptr)) return; // there was no work
    mark_due(database);
  }
  wake_launcher();
}

// Of a statement that failed, also when the session ends in the middle.
void release(int, Datum database) {
  let_go(DatumGetObjectId(database), false);
}

void run_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                 ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* destination,
                 QueryCompletion* completion) {
  (previous_hook != nullptr ? previous_hook : standard_ProcessUtility)(
      statement, text, read_only_tree, context, parameters, environment, destination, completion);
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
  PG_ENSURE_ERROR_CLEANUP(release, ObjectIdGetDatum(database));
  {
    hold(database);
    run_utility(statement, text, read_only_tree, context, parameters, environment, destination, completion);
    if (database != MyDatabaseId) relist_databases_at_commit(); // before it, the launcher cannot see what has changed
  }
  PG_END_ENSURE_ERROR_CLEANUP(release, ObjectIdGetDatum(database));
  let_go(database, IsA(statement->utilityStmt, DropdbStmt));
}

} // namespace

void install_yield_hook() {
  previous_hook = ProcessUtility_hook;
  ProcessUtility_hook = process_utility;
}

} // namespace dbops::server
