#include "server/lifecycle/holds.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "core/text/json_text.h"
#include "server/backfill/table.h"
#include "server/lifecycle/hold_condition.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace dbops::server::lifecycle {

namespace {

// Beside those of job_record.cpp and migration/history.cpp. One for the database: shared by who deletes, exclusive for
// a new hold.
constexpr std::uint16_t hold_lock_class = 0xDE;

// What this process knows for the transaction under way.
struct Deleting {
  bool always = false;  // a GuardedDeletions lives
  bool begun = false;   // keep_to_holds() was called, or begin_deleting()
  bool current = false; // the lock is held, and `holds` are all there are
  std::vector<Hold> holds;
  std::map<Oid, std::vector<std::size_t>> concerning; // holds on a relation or above it
  Oid guard = InvalidOid;                             // dbops.hold_guard()
  std::set<Oid> droppable;                            // has no held row, under a lock against writers
};

Deleting& deleting() {
  static auto& state = *new Deleting; // never destroyed: proc_exit may longjmp past
  return state;
}

void forget() noexcept {
  Deleting& state = deleting();
  state.current = false;
  state.holds.clear();
  state.concerning.clear();
  state.droppable.clear();
}

void at_end_of_transaction(XactEvent event, void*) {
  if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE) return;
  forget();
  deleting().begun = false;
}

// A lock that was taken in the savepoint is gone with it.
void at_end_of_savepoint(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
  if (event == SUBXACT_EVENT_ABORT_SUB) forget();
}

void lock_holds(LOCKMODE mode) {
  LOCKTAG tag;
  SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, hold_lock_class);
  call_pg([&tag, mode] { (void)LockAcquire(&tag, mode, false, false); });
}

// A transaction that looks at the past deletes in the present.
std::vector<Hold> read_holds() {
  const Rows found = bookkeep_latest("SELECT hold_id, target::oid, condition, settings, reason FROM dbops.legal_hold"
                                     " WHERE released_at IS NULL ORDER BY hold_id");
  std::vector<Hold> holds;
  for (std::size_t i = 0; i < found.size(); ++i) {
    Hold& hold = holds.emplace_back();
    hold.id = found.integer(i, 0);
    hold.target = static_cast<Oid>(found.integer(i, 1));
    if (!found.is_null(i, 2)) hold.condition = found.text(i, 2);
    hold.settings = core::parse_json_text(found.text(i, 3)).get<Settings>();
    hold.reason = found.text(i, 4);
  }
  return holds;
}

void ensure_current() {
  Deleting& state = deleting();
  if (state.current) return;
  lock_holds(ShareLock);
  state.holds = read_holds();
  state.concerning.clear();
  if (!state.holds.empty())
    state.guard = static_cast<Oid>(bookkeep("SELECT 'dbops.hold_guard()'::regprocedure::oid").integer(0, 0));
  state.current = true;
}

// Of these, the holds on a relation and on all that it is part of.
std::vector<std::size_t> holds_on(Oid relation, const std::vector<Hold>& holds) {
  std::vector<std::size_t> concerning;
  if (holds.empty()) return concerning;
  const std::vector<Oid> above = ancestry(relation);
  for (std::size_t i = 0; i < holds.size(); ++i)
    if (std::find(above.begin(), above.end(), holds[i].target) != above.end()) concerning.push_back(i);
  return concerning;
}

const std::vector<std::size_t>& concerning(Oid relation) {
  Deleting& state = deleting();
  if (const auto found = state.concerning.find(relation); found != state.concerning.end()) return found->second;
  return state.concerning.emplace(relation, holds_on(relation, state.holds)).first->second;
}

// On it, above it, or on a part of it.
bool concerned(Oid relation) {
  if (!concerning(relation).empty()) return true;
  const std::vector<Hold>& holds = deleting().holds;
  return std::any_of(holds.begin(), holds.end(), [relation](const Hold& hold) {
    const std::vector<Oid> above = ancestry(hold.target);
    return std::find(above.begin(), above.end(), relation) != above.end();
  });
}

std::string held_row(const std::string& alias) {
  return "dbops.is_held(" + alias + ".tableoid, " + alias + ".*)";
}

// "EXISTS (...)" of rows that would go, or change, with a row of `parent`, and are held; empty when none can be.
std::string held_below(const Dependent& dependent, const std::string& parent, int depth) {
  using Effect = Dependent::Effect;
  if (dependent.effect == Effect::restricted) return {};
  const std::string alias = "dbops_" + std::to_string(depth);
  std::string held = concerned(dependent.relation) ? held_row(alias) : std::string();
  for (const Dependent& below : dependent.below)
    if (const std::string deeper = held_below(below, alias, depth + 1); !deeper.empty())
      held += (held.empty() ? "" : " OR ") + deeper;
  if (held.empty()) return {};
  return "EXISTS (SELECT FROM " + dependent.name + " AS " + alias + " WHERE " + join_of(dependent, parent, alias) +
         " AND (" + held + "))";
}

// "EXISTS (...)" of held rows whose reference to a row of `parent`, or to one that goes with it, would be changed.
std::string held_changed(const Dependent& dependent, const std::string& parent, int depth) {
  using Effect = Dependent::Effect;
  const std::string alias = "dbops_" + std::to_string(depth);
  std::string held =
      dependent.effect == Effect::changed && concerned(dependent.relation) ? held_row(alias) : std::string();
  if (dependent.effect == Effect::erased)
    for (const Dependent& below : dependent.below)
      if (const std::string deeper = held_changed(below, alias, depth + 1); !deeper.empty())
        held += (held.empty() ? "" : " OR ") + deeper;
  if (held.empty()) return {};
  return "EXISTS (SELECT FROM " + dependent.name + " AS " + alias + " WHERE " + join_of(dependent, parent, alias) +
         " AND (" + held + "))";
}

// Whether a table alone, without its children, has such a row, for who takes all that are there now: neither row-level
// security nor an old snapshot keeps a row from TRUNCATE, DROP or DETACH. Raises 42501 where rows are hidden from the
// role; from the owner none are.
bool has_row(Oid table, const std::string& condition) {
  const std::string sql = "SELECT 1 FROM ONLY " + qualified_name(table) + " AS t WHERE " + condition;
  const Oid role = GetUserId();
  return as_role(role, SECURITY_NOFORCE_RLS, [&] {
    backfill::require_all_rows(table, role);
    const int nest_level = enter_settings({{"search_path", "pg_catalog, pg_temp"}, {"row_security", "off"}});
    call_pg([&sql] {
      CommandCounterIncrement();
      PushActiveSnapshot(GetLatestSnapshot());
      if (const int code = SPI_execute(sql.c_str(), true, 1); code < 0)
        elog(ERROR, "SPI_execute: %s", SPI_result_code_string(code));
      PopActiveSnapshot();
    });
    const bool found = !take_result().empty();
    leave_settings(nest_level);
    return found;
  });
}

// --- evaluating, for one statement -----------------------------------------------------------------------------------

// What a call site of is_held() or hold_guard() keeps while its statement runs.
struct CallSite {
  explicit CallSite(MemoryContext memory_) : memory(memory_) {}
  MemoryContext memory;
  std::optional<std::vector<Hold>> holds;
  std::map<std::pair<Oid, Oid>, std::unique_ptr<HoldTest>> tests; // by table and row type's relation; null: no hold
  MemoryContextCallback at_end{};
};

CallSite& call_site(FunctionCallInfo fcinfo) {
  if (fcinfo->flinfo->fn_extra == nullptr) {
    auto site = std::make_unique<CallSite>(fcinfo->flinfo->fn_mcxt);
    site->at_end.func = [](void* argument) { delete static_cast<CallSite*>(argument); };
    site->at_end.arg = site.get();
    MemoryContextRegisterResetCallback(site->memory, &site->at_end);
    fcinfo->flinfo->fn_extra = site.release();
  }
  return *static_cast<CallSite*>(fcinfo->flinfo->fn_extra);
}

const HoldTest* test_for(CallSite& site, Oid table, Oid row_of) {
  const auto [entry, is_new] = site.tests.try_emplace({table, row_of});
  if (!is_new) return entry->second.get();
  try {
    SpiConnection spi;
    if (!site.holds) site.holds = deleting().current ? deleting().holds : read_holds();
    std::vector<Hold> applicable;
    for (const std::size_t i : holds_on(table, *site.holds))
      applicable.push_back((*site.holds)[i]);
    if (!applicable.empty()) entry->second = std::make_unique<HoldTest>(row_of, std::move(applicable), site.memory);
    spi.close();
  } catch (...) {
    site.tests.erase(entry); // not to be taken for "no hold" by who catches the error
    throw;
  }
  return entry->second.get();
}

bool is_held(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
    throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "tableoid and row must not be null",
                   "dbops.is_held(t.tableoid, t.*)");
  const Oid table = PG_GETARG_OID(0);
  struct Row {
    HeapTupleData tuple;
    Oid row_of;
  };
  const Row row = call_pg([fcinfo] {
    HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(1);
    Row found{};
    found.tuple.t_len = HeapTupleHeaderGetDatumLength(header);
    ItemPointerSetInvalid(&found.tuple.t_self);
    found.tuple.t_tableOid = InvalidOid;
    found.tuple.t_data = header;
    found.row_of = get_typ_typrelid(HeapTupleHeaderGetTypeId(header));
    return found;
  });
  if (!OidIsValid(row.row_of))
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, "row must be a row of a table", "dbops.is_held(t.tableoid, t.*)");
  const HoldTest* test = test_for(call_site(fcinfo), table, row.row_of);
  if (test == nullptr) return false;
  HeapTupleData tuple = row.tuple;
  return test->held_by(&tuple) != nullptr;
}

std::string describe(const Hold& hold) {
  return "hold " + to_text(hold.id) + " (" + hold.reason + ")";
}

// BEFORE DELETE FOR EACH ROW: raises when the row, as it is under its lock, is held.
Datum guard_row(FunctionCallInfo fcinfo) {
  if (!CALLED_AS_TRIGGER(fcinfo))
    throw SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, "dbops.hold_guard() is a trigger function");
  auto* data = reinterpret_cast<TriggerData*>(fcinfo->context);
  if (!TRIGGER_FIRED_BEFORE(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
      !TRIGGER_FIRED_BY_DELETE(data->tg_event))
    throw SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                   "dbops.hold_guard() must be a trigger BEFORE DELETE FOR EACH ROW");
  const Oid table = RelationGetRelid(data->tg_relation);
  if (!deleting().current) { // the application's own trigger: a new hold waits for the end of its transaction
    SpiConnection spi;
    ensure_current();
    spi.close();
  }
  if (const HoldTest* test = test_for(call_site(fcinfo), table, table))
    if (const Hold* hold = test->held_by(data->tg_trigtuple))
      throw SqlError(ERRCODE_RESTRICT_VIOLATION,
                     "a row of " + qualified_name(table) + " must not be deleted: it is under legal " + describe(*hold),
                     "See dbops.holds. SELECT dbops.release(" + to_text(hold->id) + ", 'why') ends the hold.");
  return PointerGetDatum(data->tg_trigtuple);
}

// --- the guard -------------------------------------------------------------------------------------------------------

// Gives the statement's own copy of the relation's triggers one more. Allocates in the statement's memory.
void add_guard(EState* estate, ResultRelInfo* result, Oid function) {
  MemoryContext before = MemoryContextSwitchTo(estate->es_query_cxt);
  TriggerDesc* old = result->ri_TrigDesc;
  const int count = old == nullptr ? 0 : old->numtriggers;
  auto* triggers = static_cast<TriggerDesc*>(palloc0(sizeof(TriggerDesc)));
  if (old != nullptr) *triggers = *old;
  triggers->numtriggers = count + 1;
  triggers->triggers = static_cast<Trigger*>(palloc0(sizeof(Trigger) * static_cast<std::size_t>(count + 1)));
  if (count > 0) std::memcpy(triggers->triggers, old->triggers, sizeof(Trigger) * static_cast<std::size_t>(count));
  Trigger& guard = triggers->triggers[count];
  guard.tgname = pstrdup("dbops_hold_guard");
  guard.tgfoid = function;
  guard.tgtype = TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_DELETE;
  guard.tgenabled = TRIGGER_FIRES_ALWAYS;
  guard.tgisinternal = true;
  triggers->trig_delete_before_row = true;
  result->ri_TrigDesc = triggers;
  result->ri_TrigFunctions = static_cast<FmgrInfo*>(palloc0(sizeof(FmgrInfo) * static_cast<std::size_t>(count + 1)));
  result->ri_TrigWhenExprs =
      static_cast<ExprState**>(palloc0(sizeof(ExprState*) * static_cast<std::size_t>(count + 1)));
  if (result->ri_TrigInstrument != nullptr)
    result->ri_TrigInstrument = InstrAlloc(count + 1, estate->es_instrument, false);
  MemoryContextSwitchTo(before);
}

// Of the tables that the statement changes, those on which there is a hold.
void guard_statement(QueryDesc* query) {
  SpiConnection spi;
  ensure_current();
  if (!deleting().holds.empty()) {
    EState* estate = query->estate;
    for (int i = 0; i < call_pg([estate] { return list_length(estate->es_opened_result_relations); }); ++i) {
      auto* result = static_cast<ResultRelInfo*>(list_nth(estate->es_opened_result_relations, i));
      if (result->ri_RelationDesc->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) continue;
      if (concerning(RelationGetRelid(result->ri_RelationDesc)).empty()) continue;
      call_pg([&] { add_guard(estate, result, deleting().guard); });
    }
  }
  spi.close();
}

// On dbops' own tables there can be no hold.
bool changes_tables_of_users(const EState* estate) {
  const Oid own = get_namespace_oid("dbops", true);
  ListCell* cell = nullptr;
  foreach (cell, estate->es_opened_result_relations)
    if (RelationGetNamespace(static_cast<ResultRelInfo*>(lfirst(cell))->ri_RelationDesc) != own) return true;
  return false;
}

ExecutorStart_hook_type previous_hook = nullptr;

void executor_start(QueryDesc* query, int flags) {
  if (previous_hook != nullptr)
    previous_hook(query, flags);
  else
    standard_ExecutorStart(query, flags);
  if ((!deleting().begun && !deleting().always) || query->estate->es_opened_result_relations == NIL ||
      (flags & EXEC_FLAG_EXPLAIN_ONLY) != 0)
    return;
  if ((query->operation == CMD_INSERT || query->operation == CMD_UPDATE) && !query->plannedstmt->hasModifyingCTE)
    return;
  if (deleting().current && deleting().holds.empty()) return;
  if (!changes_tables_of_users(query->estate)) return;
  boundary([query] { guard_statement(query); });
}

} // namespace

namespace {

// Of a table that is being dropped the row type has gone already, so that no condition can be asked: a table that is
// not empty counts as held. Its partitions have been asked before it.
std::string hold_on_dropped(Oid relation) {
  const std::vector<std::size_t>& numbers = concerning(relation);
  const std::vector<Hold>& holds = deleting().holds;
  for (const std::size_t i : numbers)
    if (!holds[i].condition) return describe(holds[i]);
  if (numbers.empty() || call_pg([relation] { return get_rel_relkind(relation); }) == RELKIND_PARTITIONED_TABLE)
    return {};
  if (!has_row(relation, "true")) return {};
  return describe(holds[numbers.front()]);
}

// Waits for those that write to a table which is to be truncated: PostgreSQL reports it before it waits for them
// itself, and before it asks whether the user may (tablecmds.c, RangeVarCallbackForTruncate). The children that go with
// it are locked by then, and no privilege on them is asked for. False: it is refused there, or the table is gone.
bool lock_to_truncate(Oid relation) {
  return call_pg([relation] {
    Relation table = RelationIdGetRelation(relation);
    if (!RelationIsValid(table)) return false;
    const bool locked = CheckRelationLockedByMe(table, AccessExclusiveLock, true);
    RelationClose(table);
    if (locked) return true;
    if (pg_class_aclcheck(relation, GetUserId(), ACL_TRUNCATE) != ACLCHECK_OK) return false;
    LockRelationOid(relation, AccessExclusiveLock);
    return get_rel_relkind(relation) != '\0';
  });
}

// Its own rows: each child that goes with it is asked for by itself.
std::string hold_on_truncated(Oid relation) {
  const std::vector<Hold>& holds = deleting().holds;
  const std::vector<std::size_t> numbers = holds_on(relation, holds); // it may have come under one since
  for (const std::size_t i : numbers)
    if (!holds[i].condition) return describe(holds[i]);
  if (numbers.empty() || call_pg([relation] { return get_rel_relkind(relation); }) == RELKIND_PARTITIONED_TABLE ||
      !lock_to_truncate(relation))
    return {};
  return has_row(relation, held_row("t")) ? describe(holds[numbers.front()]) : std::string();
}

// TRUNCATE and DROP of statements that dbops runs for users, whatever they are called by: a schema that goes with
// CASCADE, a function, a trigger, a foreign key that TRUNCATE follows.
void refuse_to_empty(Oid relation, bool dropped) {
  if (dropped && deleting().droppable.contains(relation)) return;
  SpiConnection spi;
  ensure_current();
  const std::string hold = dropped ? hold_on_dropped(relation) : hold_on_truncated(relation);
  if (!hold.empty())
    throw SqlError(ERRCODE_RESTRICT_VIOLATION,
                   "table " + qualified_name(relation) + " must not be truncated or dropped: it is under legal " + hold,
                   "See dbops.holds.");
  spi.close();
}

// As this command has left it so far. Raises: for call_pg.
bool is_child_of(Oid child, Oid parent) {
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(child));
  Relation inherits = table_open(InheritsRelationId, AccessShareLock);
  SysScanDesc scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, SnapshotSelf, 1, &key);
  bool found = false;
  for (HeapTuple link = systable_getnext(scan); HeapTupleIsValid(link) && !found; link = systable_getnext(scan))
    found = reinterpret_cast<Form_pg_inherits>(GETSTRUCT(link))->inhparent == parent;
  systable_endscan(scan);
  table_close(inherits, AccessShareLock);
  return found;
}

// DETACH and NO INHERIT have locked the table, and not what is below it, into which somebody may be writing.
void wait_for_writers_below(Oid child) {
  call_pg([child] { list_free(find_all_inheritors(child, ShareLock, nullptr)); });
}

void refuse_to_detach(Oid child, Oid parent) {
  SpiConnection spi;
  if (const std::string hold = hold_on_rows(child, parent); !hold.empty())
    throw SqlError(ERRCODE_RESTRICT_VIOLATION,
                   "table " + qualified_name(child) + " must stay a part of " + qualified_name(parent) +
                       ": it has rows under legal " + hold,
                   "See dbops.holds.");
  spi.close();
}

object_access_hook_type previous_access_hook = nullptr;

void at_object_access(ObjectAccessType access, Oid class_id, Oid object, int part, void* argument) {
  if (previous_access_hook != nullptr) previous_access_hook(access, class_id, object, part, argument);
  if ((!deleting().begun && !deleting().always) || part != 0) return;
  if (deleting().current && deleting().holds.empty()) return;
  // A child leaves its parent, and with it what the parent is held by (tablecmds.c, RemoveInheritance). The same is
  // reported of one that is new there (StoreCatalogInheritance1).
  if (access == OAT_POST_ALTER && class_id == InheritsRelationId) {
    const Oid parent = static_cast<ObjectAccessPostAlter*>(argument)->auxiliary_id;
    boundary([object, parent] {
      if (call_pg([object, parent] { return is_child_of(object, parent); })) return;
      wait_for_writers_below(object);
      refuse_to_detach(object, parent);
    });
    return;
  }
  if (class_id != RelationRelationId) return;
  if (access != OAT_TRUNCATE && access != OAT_DROP) return;
  const char kind = get_rel_relkind(object);
  if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE) return;
  boundary([object, access] { refuse_to_empty(object, access == OAT_DROP); });
}

} // namespace

void keep_to_holds() noexcept {
  deleting().begun = true;
}

void begin_deleting() {
  keep_to_holds();
  ensure_current();
}

GuardedDeletions::GuardedDeletions() noexcept : outer_(std::exchange(deleting().always, true)) {}

GuardedDeletions::~GuardedDeletions() {
  deleting().always = outer_;
}

bool nothing_is_held() {
  return deleting().holds.empty();
}

std::string unheld(Oid relation, const std::string& alias, Children children) {
  ensure_current();
  if (nothing_is_held()) return {};
  std::string text;
  if (concerned(relation)) text += " AND NOT " + held_row(alias);
  for (const Dependent& dependent : dependents_of(relation, children))
    if (const std::string held = held_below(dependent, alias, 1); !held.empty()) text += " AND NOT " + held;
  return text;
}

std::string changes_held(Oid relation, const std::string& alias) {
  ensure_current();
  std::string text;
  if (nothing_is_held()) return text;
  for (const Dependent& dependent : dependents_of(relation, Children::as_declared))
    if (const std::string held = held_changed(dependent, alias, 1); !held.empty())
      text += (text.empty() ? "" : " OR ") + held;
  return text;
}

std::string hold_on_rows(Oid relation, Oid also) {
  ensure_current();
  if (nothing_is_held()) return {};
  for (const Oid member : backfill::family(relation))
    for (const Oid part_of : {member, also}) {
      if (!OidIsValid(part_of)) continue;
      const std::vector<std::size_t>& numbers = concerning(part_of);
      for (const std::size_t i : numbers)
        if (!deleting().holds[i].condition) return describe(deleting().holds[i]);
      if (numbers.empty()) continue;
      if (has_row(member, "dbops.is_held(" + to_text(part_of) + "::pg_catalog.oid, t.*)"))
        return describe(deleting().holds[numbers.front()]);
    }
  return {};
}

void allow_to_drop(Oid relation) {
  const Rows parts = ask_catalog("SELECT relid::oid FROM pg_partition_tree($1::oid::regclass)", {to_text(relation)});
  deleting().droppable.insert(relation); // no partition, nor partitioned: it has no tree
  for (std::size_t i = 0; i < parts.size(); ++i)
    deleting().droppable.insert(static_cast<Oid>(parts.integer(i, 0)));
}

void require_detachable(Oid child, Oid parent) {
  boundary([child, parent] { refuse_to_detach(child, parent); });
}

void lock_for_new_hold() {
  lock_holds(ExclusiveLock);
  forget(); // what this transaction goes on to delete has to keep to it as well
}

} // namespace dbops::server::lifecycle

namespace dbops::server {

void install_deletion_guard() {
  lifecycle::previous_hook = ExecutorStart_hook;
  ExecutorStart_hook = lifecycle::executor_start;
  lifecycle::previous_access_hook = object_access_hook;
  object_access_hook = lifecycle::at_object_access;
  RegisterXactCallback(lifecycle::at_end_of_transaction, nullptr);
  RegisterSubXactCallback(lifecycle::at_end_of_savepoint, nullptr);
}

} // namespace dbops::server

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_is_held) {
  return boundary([fcinfo] { return BoolGetDatum(lifecycle::is_held(fcinfo)); });
}

DBOPS_SQL_FUNCTION(dbops_hold_guard) {
  return boundary([fcinfo] { return lifecycle::guard_row(fcinfo); });
}
