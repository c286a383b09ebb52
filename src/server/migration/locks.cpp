#include "server/migration/locks.h"

#include <algorithm>
#include <map>

#include "server/ddl/blockers.h"
#include "server/ddl/catalog.h"
#include "server/ddl/reach.h"

extern "C" {
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/backend_status.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace dbops::server::migration {

namespace {

// Plain data: it is filled by code that an ERROR may leave.
struct Found {
  Oid relation;
  LOCKMODE mode;
};
struct Statement {
  List* locks = NIL;   // of Found
  List* dropped = NIL; // OIDs of tables: those that foreign keys join them with are locked as well
  List* emptied = NIL; // of TRUNCATE ... CASCADE
  ReindexStmt* reindex = nullptr;
  bool names_moved = false; // names without a schema are not looked up
};

void add(Statement& found, Oid relation, LOCKMODE mode) {
  if (!OidIsValid(relation) || mode < ShareUpdateExclusiveLock) return;
  auto* lock = static_cast<Found*>(palloc(sizeof(Found)));
  *lock = {relation, mode};
  found.locks = lappend(found.locks, lock);
}

Oid relation_of(const Statement& found, const RangeVar* name) {
  if (name == nullptr || (found.names_moved && name->schemaname == nullptr)) return InvalidOid;
  return RangeVarGetRelid(name, NoLock, true);
}

void add(Statement& found, const RangeVar* name, LOCKMODE mode) {
  add(found, relation_of(found, name), mode);
}

// What a statement goes on to from the table that it names, unless it says ONLY.
enum class Reach { table, partitions, children };

bool has_partitions(Oid relation) {
  const char kind = get_rel_relkind(relation);
  return kind == RELKIND_PARTITIONED_TABLE || kind == RELKIND_PARTITIONED_INDEX;
}

void add(Statement& found, const RangeVar* name, LOCKMODE mode, Reach reach) {
  const Oid relation = relation_of(found, name);
  if (!OidIsValid(relation) || mode < ShareUpdateExclusiveLock) return;
  if (!name->inh || reach == Reach::table || (reach == Reach::partitions && !has_partitions(relation)))
    return add(found, relation, mode);
  ListCell* cell = nullptr;
  foreach (cell, find_all_inheritors(relation, NoLock, nullptr))
    add(found, lfirst_oid(cell), mode);
}

void add_referenced(Statement& found, List* constraints) {
  ListCell* cell = nullptr;
  foreach (cell, constraints)
    if (IsA(lfirst(cell), Constraint))
      add(found, reinterpret_cast<Constraint*>(lfirst(cell))->pktable, ShareRowExclusiveLock);
}

void add_default_partition(Statement& found, Oid parent) {
  if (OidIsValid(parent) && get_rel_relkind(parent) == RELKIND_PARTITIONED_TABLE)
    add(found, get_default_partition_oid(parent), AccessExclusiveLock);
}

// The referenced table of a foreign key.
void add_other_end(Statement& found, Oid table, const char* constraint) {
  if (!OidIsValid(table) || constraint == nullptr) return;
  const Oid key = get_relation_constraint_oid(table, constraint, true);
  HeapTuple tuple = OidIsValid(key) ? SearchSysCache1(CONSTROID, ObjectIdGetDatum(key)) : nullptr;
  if (!HeapTupleIsValid(tuple)) return;
  add(found, reinterpret_cast<Form_pg_constraint>(GETSTRUCT(tuple))->confrelid, AccessExclusiveLock);
  ReleaseSysCache(tuple);
}

// CHECK is inherited; a foreign key is one of partitions alone.
Reach of_constraint(Statement& found, Node* definition) {
  if (!IsA(definition, Constraint)) return Reach::children;
  add_referenced(found, list_make1(definition));
  return reinterpret_cast<Constraint*>(definition)->contype == CONSTR_FOREIGN ? Reach::partitions : Reach::children;
}

// Returns how far the lock of the table itself goes (tablecmds.c, ATPrepCmd).
Reach of_command(Statement& found, Oid table, AlterTableCmd* command) {
  switch (command->subtype) {
  case AT_AddConstraint:
    return of_constraint(found, command->def);
  case AT_AddColumn:
    add_referenced(found, reinterpret_cast<ColumnDef*>(command->def)->constraints);
    return Reach::children;
  case AT_DropConstraint:
    add_other_end(found, table, command->name);
    return Reach::children;
  case AT_AttachPartition:
  case AT_DetachPartition:
    add(found, reinterpret_cast<PartitionCmd*>(command->def)->name, AccessExclusiveLock);
    add_default_partition(found, table);
    return Reach::table;
  case AT_AddInherit:
  case AT_DropInherit:
    add(found, reinterpret_cast<RangeVar*>(command->def), ShareUpdateExclusiveLock);
    return Reach::table;
  case AT_EnableTrig:
  case AT_EnableAlwaysTrig:
  case AT_EnableReplicaTrig:
  case AT_DisableTrig:
  case AT_EnableTrigAll:
  case AT_DisableTrigAll:
  case AT_EnableTrigUser:
  case AT_DisableTrigUser:
    return Reach::partitions;
  case AT_ChangeOwner:
  case AT_ClusterOn:
  case AT_DropCluster:
  case AT_SetLogged:
  case AT_SetUnLogged:
  case AT_SetAccessMethod:
  case AT_SetTableSpace:
  case AT_SetRelOptions:
  case AT_ResetRelOptions:
  case AT_EnableRule:
  case AT_EnableAlwaysRule:
  case AT_EnableReplicaRule:
  case AT_DisableRule:
  case AT_AddOf:
  case AT_DropOf:
  case AT_ReplicaIdentity:
  case AT_EnableRowSecurity:
  case AT_DisableRowSecurity:
  case AT_ForceRowSecurity:
  case AT_NoForceRowSecurity:
  case AT_GenericOptions:
    return Reach::table;
  default:
    return Reach::children;
  }
}

void of_alter_table(Statement& found, AlterTableStmt* statement) {
  const Oid table = relation_of(found, statement->relation);
  Reach reach = Reach::table;
  ListCell* cell = nullptr;
  foreach (cell, statement->cmds)
    reach = std::max(reach, of_command(found, table, lfirst_node(AlterTableCmd, cell)));
  add(found, statement->relation, AlterTableGetLockLevel(statement->cmds), reach);
}

// Of an index; a partitioned one is that of all partitions.
void add_tables_of(Statement& found, Oid index) {
  const Oid table = IndexGetRelation(index, true);
  if (!OidIsValid(table)) return;
  ListCell* cell = nullptr;
  foreach (cell, has_partitions(index) ? find_all_inheritors(table, NoLock, nullptr) : list_make1_oid(table))
    add(found, lfirst_oid(cell), AccessExclusiveLock);
}

void of_dropped_relation(Statement& found, ObjectType type, List* name) {
  const RangeVar* relation = makeRangeVarFromNameList(name);
  add(found, relation, AccessExclusiveLock, Reach::children);
  const Oid oid = relation_of(found, relation);
  if (!OidIsValid(oid)) return;
  if (type == OBJECT_INDEX) add_tables_of(found, oid);
  if (type == OBJECT_TABLE) found.dropped = lappend_oid(found.dropped, oid);
}

void of_drop(Statement& found, DropStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->objects) {
    switch (statement->removeType) {
    case OBJECT_TABLE:
    case OBJECT_FOREIGN_TABLE:
    case OBJECT_VIEW:
    case OBJECT_MATVIEW:
    case OBJECT_SEQUENCE:
    case OBJECT_INDEX:
      of_dropped_relation(found, statement->removeType, lfirst_node(List, cell));
      break;
    case OBJECT_TRIGGER:
    case OBJECT_POLICY:
    case OBJECT_RULE: { // the name of the table, then its own
      List* table = list_copy_head(lfirst_node(List, cell), list_length(lfirst_node(List, cell)) - 1);
      const Reach reach = statement->removeType == OBJECT_TRIGGER ? Reach::partitions : Reach::table;
      if (table != NIL) add(found, makeRangeVarFromNameList(table), AccessExclusiveLock, reach);
      break;
    }
    default:
      break;
    }
  }
}

// CREATE TABLE: what it refers to, inherits from or is a part of.
void of_create_table(Statement& found, CreateStmt* statement) {
  add_referenced(found, statement->constraints);
  ListCell* cell = nullptr;
  foreach (cell, statement->tableElts) {
    auto* element = static_cast<Node*>(lfirst(cell));
    if (IsA(element, Constraint)) add_referenced(found, list_make1(element));
    if (IsA(element, ColumnDef)) add_referenced(found, reinterpret_cast<ColumnDef*>(element)->constraints);
  }
  foreach (cell, statement->inhRelations) {
    const Oid parent = relation_of(found, lfirst_node(RangeVar, cell));
    add(found, parent, statement->partbound != nullptr ? AccessExclusiveLock : ShareUpdateExclusiveLock);
    if (statement->partbound != nullptr) add_default_partition(found, parent);
  }
}

void of_truncate(Statement& found, TruncateStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->relations) {
    add(found, lfirst_node(RangeVar, cell), AccessExclusiveLock, Reach::children);
    if (statement->behavior == DROP_CASCADE)
      found.emptied = lappend_oid(found.emptied, relation_of(found, lfirst_node(RangeVar, cell)));
  }
}

void of_rename(Statement& found, RenameStmt* statement) {
  const ObjectType what = statement->renameType;
  const Reach reach = what == OBJECT_COLUMN || what == OBJECT_TABCONSTRAINT ? Reach::children
                      : what == OBJECT_TRIGGER                              ? Reach::partitions
                                                                            : Reach::table;
  add(found, statement->relation, what == OBJECT_INDEX ? ShareUpdateExclusiveLock : AccessExclusiveLock, reach);
}

void of_lock(Statement& found, LockStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->relations)
    add(found, lfirst_node(RangeVar, cell), statement->mode, Reach::children);
}

// A row trigger is one of the partitions as well.
void of_create_trigger(Statement& found, CreateTrigStmt* statement) {
  add(found, statement->relation, ShareRowExclusiveLock, statement->row ? Reach::partitions : Reach::table);
}

// VACUUM FULL and ANALYZE: of VACUUM, no other comes here.
void of_vacuum(Statement& found, VacuumStmt* statement) {
  const LOCKMODE mode = statement->is_vacuumcmd ? AccessExclusiveLock : ShareUpdateExclusiveLock;
  ListCell* cell = nullptr;
  foreach (cell, statement->rels)
    add(found, lfirst_node(VacuumRelation, cell)->relation, mode, Reach::partitions);
}

void of_reindex(Statement& found, ReindexStmt* statement) {
  const RangeVar* name = statement->relation;
  if (!found.names_moved || name == nullptr || name->schemaname != nullptr) found.reindex = statement;
}

Statement look(const std::string& text, bool names_moved) {
  return call_pg([&text, names_moved] {
    Statement found;
    found.names_moved = names_moved;
    List* parsed = raw_parser(text.c_str(), RAW_PARSE_DEFAULT);
    if (parsed == NIL) return found;
    Node* node = linitial_node(RawStmt, parsed)->stmt;
    switch (nodeTag(node)) {
    case T_AlterTableStmt:
      of_alter_table(found, reinterpret_cast<AlterTableStmt*>(node));
      break;
    case T_CreateStmt:
      of_create_table(found, reinterpret_cast<CreateStmt*>(node));
      break;
    case T_IndexStmt:
      add(found, reinterpret_cast<IndexStmt*>(node)->relation, ShareLock, Reach::partitions);
      break;
    case T_DropStmt:
      of_drop(found, reinterpret_cast<DropStmt*>(node));
      break;
    case T_RenameStmt:
      of_rename(found, reinterpret_cast<RenameStmt*>(node));
      break;
    case T_AlterObjectSchemaStmt:
      add(found, reinterpret_cast<AlterObjectSchemaStmt*>(node)->relation, AccessExclusiveLock);
      break;
    case T_TruncateStmt:
      of_truncate(found, reinterpret_cast<TruncateStmt*>(node));
      break;
    case T_CreateTrigStmt:
      of_create_trigger(found, reinterpret_cast<CreateTrigStmt*>(node));
      break;
    case T_CreatePolicyStmt:
      add(found, reinterpret_cast<CreatePolicyStmt*>(node)->table, AccessExclusiveLock);
      break;
    case T_AlterPolicyStmt:
      add(found, reinterpret_cast<AlterPolicyStmt*>(node)->table, AccessExclusiveLock);
      break;
    case T_RuleStmt:
      add(found, reinterpret_cast<RuleStmt*>(node)->relation, AccessExclusiveLock);
      break;
    case T_ViewStmt:
      if (reinterpret_cast<ViewStmt*>(node)->replace)
        add(found, reinterpret_cast<ViewStmt*>(node)->view, AccessExclusiveLock);
      break;
    case T_RefreshMatViewStmt: {
      auto* refresh = reinterpret_cast<RefreshMatViewStmt*>(node);
      add(found, refresh->relation, refresh->concurrent ? ExclusiveLock : AccessExclusiveLock);
      break;
    }
    case T_LockStmt:
      of_lock(found, reinterpret_cast<LockStmt*>(node));
      break;
    case T_ClusterStmt:
      add(found, reinterpret_cast<ClusterStmt*>(node)->relation, AccessExclusiveLock, Reach::partitions);
      break;
    case T_VacuumStmt:
      of_vacuum(found, reinterpret_cast<VacuumStmt*>(node));
      break;
    case T_ReindexStmt:
      of_reindex(found, reinterpret_cast<ReindexStmt*>(node));
      break;
    default:
      break;
    }
    return found;
  });
}

// EXCLUSIVE is above SHARE ROW EXCLUSIVE by SELECT ... FOR UPDATE alone, which is over soon.
ddl::Lock lock_of(LOCKMODE mode) {
  if (mode == AccessExclusiveLock) return ddl::Lock::access_exclusive;
  if (mode == ShareLock) return ddl::Lock::share;
  return mode == ShareUpdateExclusiveLock ? ddl::Lock::share_update_exclusive : ddl::Lock::share_row_exclusive;
}

std::vector<Oid> oids_of(List* list) {
  std::vector<Oid> oids;
  ListCell* cell = nullptr;
  foreach (cell, list)
    if (OidIsValid(lfirst_oid(cell))) oids.push_back(lfirst_oid(cell));
  return oids;
}

// DROP TABLE takes the triggers of foreign keys off the tables at their other ends.
void add_neighbours(std::vector<NeededLock>& locks, const std::vector<Oid>& dropped) {
  if (dropped.empty()) return;
  const Rows found = ask_catalog("SELECT CASE WHEN conrelid = ANY ($1::oid[]) THEN confrelid ELSE conrelid END FROM "
                                 "pg_catalog.pg_constraint WHERE contype = 'f' AND (conrelid = ANY ($1::oid[]) OR "
                                 "confrelid = ANY ($1::oid[]))",
                                 {ddl::oid_array(dropped)});
  for (std::size_t i = 0; i < found.size(); ++i)
    locks.push_back({static_cast<Oid>(found.integer(i, 0)), ddl::Lock::access_exclusive});
}

void add_reached(std::vector<NeededLock>& locks, const std::vector<ddl::Reached>& reached) {
  for (const ddl::Reached& one : reached) {
    const std::string_view mode = one.lock;
    if (mode != "SHARE" && mode != "ACCESS EXCLUSIVE") continue; // CONCURRENTLY
    locks.push_back({one.relation, mode == "SHARE" ? ddl::Lock::share : ddl::Lock::access_exclusive});
  }
}

void add_locks(std::vector<NeededLock>& locks, const std::string& text, bool names_moved) {
  const Statement found = look(text, names_moved);
  ListCell* cell = nullptr;
  foreach (cell, found.locks) {
    const auto* one = static_cast<const Found*>(lfirst(cell));
    locks.push_back({one->relation, lock_of(one->mode)});
  }
  add_neighbours(locks, oids_of(found.dropped));
  if (found.emptied != NIL) add_reached(locks, ddl::reached_by_cascade(oids_of(found.emptied)));
  if (found.reindex != nullptr) add_reached(locks, ddl::reached_by_reindex(found.reindex));
}

// Most statements of most migrations need not be parsed for this.
bool may_lock(const ScriptStatement& statement) {
  if (statement.kind == StatementKind::top_level) return statement.stalls;
  if (statement.kind != StatementKind::plain) return false;
  for (const char* tag : {"INSERT", "UPDATE", "DELETE", "SELECT", "MERGE", "DO", "SET", "CREATE FUNCTION"})
    if (statement.tag == tag) return false;
  return true;
}

} // namespace

std::vector<NeededLock> needed_locks(const ScriptStatement* first, const ScriptStatement* last, bool names_moved) {
  std::vector<NeededLock> locks;
  for (const ScriptStatement* now = first; now != last; ++now) {
    names_moved = names_moved || now->moves_names;
    if (!may_lock(*now)) continue;
    try { // a name that must not be looked up: the statement itself will say so
      locks = in_savepoint([&] {
        std::vector<NeededLock> more = locks;
        add_locks(more, std::string(now->source.text), names_moved);
        return more;
      });
    } catch (const SqlError& error) {
      if (error.code == ERRCODE_QUERY_CANCELED) throw;
    }
  }
  return locks;
}

std::string in_the_way(const std::vector<NeededLock>& locks, std::chrono::milliseconds older_than) {
  std::map<ddl::Lock, std::vector<Oid>> relations;
  for (const NeededLock& needed : locks) {
    std::vector<Oid>& same = relations[needed.lock];
    if (std::find(same.begin(), same.end(), needed.relation) == same.end()) same.push_back(needed.relation);
  }
  std::string who;
  pgstat_clear_backend_activity_snapshot(); // holders change within a transaction of ours
  for (const auto& [lock, oids] : relations) {
    const std::string more = ddl::holders(oids, lock, older_than);
    if (more.empty() || who.find(more) != std::string::npos) continue;
    who += (who.empty() ? "" : "; ") + more;
  }
  return who;
}

std::string held_up_by(const ScriptStatement* first, const ScriptStatement* last, const Callbacks& callbacks,
                       int lock_timeout_ms) {
  const std::vector<NeededLock> locks = needed_locks(first, last, callbacks.move_names());
  return locks.empty() ? std::string() : in_the_way(locks, std::chrono::milliseconds(lock_timeout_ms));
}

void fail_as_held_up(Attempt& attempt, const std::string& who) {
  attempt.outcome = "held_up";
  attempt.error = SqlError(
      ERRCODE_LOCK_NOT_AVAILABLE, "transactions that hold what it has to lock have not ended in time",
      "End them, or call again later; if_held_up => 'try' asks for the locks all the same, under lock_timeout.",
      "held by " + who);
}

} // namespace dbops::server::migration
