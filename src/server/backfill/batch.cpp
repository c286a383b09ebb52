#include "server/backfill/batch.h"

#include <algorithm>

#include "server/backfill/age_walk.h"
#include "server/backfill/deadlock_watch.h"
#include "server/backfill/early_flush.h"
#include "server/backfill/trigger_filter.h"
#include "server/compat.h"
#include "server/lifecycle/holds.h"

extern "C" {
#include "access/table.h"
#include "executor/instrument.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "nodes/params.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::backfill {

namespace {

// Counts what RETURNING gives, without storing it.
struct KeptCounter {
  DestReceiver receiver;
  std::int64_t kept;
  std::int64_t moved;
};

bool count_row(TupleTableSlot* slot, DestReceiver* self) {
  auto* counter = reinterpret_cast<KeptCounter*>(self);
  bool isnull = false;
  if (!DatumGetBool(slot_getattr(slot, 1, &isnull))) return true; // done, wherever it is now
  ++counter->kept;
  if (slot->tts_tupleDescriptor->natts > 1 && !DatumGetBool(slot_getattr(slot, 2, &isnull))) ++counter->moved;
  return true;
}

KeptCounter make_counter() {
  KeptCounter counter{};
  counter.receiver.receiveSlot = count_row;
  counter.receiver.rStartup = [](DestReceiver*, int, TupleDesc) {};
  counter.receiver.rShutdown = [](DestReceiver*) {};
  counter.receiver.rDestroy = [](DestReceiver*) {};
  counter.receiver.mydest = DestNone;
  return counter;
}

// Values from their text; under canonical_text().
ParamListInfo bind_values(const Statement& statement, const std::vector<std::string>& values) {
  return call_pg([&statement, &values] {
    const int count = static_cast<int>(values.size());
    ParamListInfo list = makeParamList(count);
    for (int i = 0; i < count; ++i) {
      Oid input = InvalidOid;
      Oid parameter = InvalidOid;
      getTypeInputInfo(statement.types[i], &input, &parameter);
      ParamExternData& slot = list->params[i];
      slot.value = OidInputFunctionCall(input, const_cast<char*>(values[i].c_str()), parameter, -1);
      slot.isnull = false;
      slot.pflags = PARAM_FLAG_CONST;
      slot.ptype = statement.types[i];
    }
    return list;
  });
}

// Counts what the server says about changed relations. Cheap enough to look at all tables anew for any of them.
std::uint64_t invalidations = 0;

void watch_relations() {
  static bool watching = false;
  if (std::exchange(watching, true)) return;
  call_pg([] { CacheRegisterRelcacheCallback([](Datum, Oid) { ++invalidations; }, static_cast<Datum>(0)); });
}

enum class Snapshot { newest, active };

void execute(SPIPlanPtr plan, ParamListInfo parameters, DestReceiver* destination,
             Snapshot snapshot = Snapshot::newest) {
  call_pg([plan, parameters, destination, snapshot] {
    SPIExecuteOptions options{};
    options.params = parameters;
    options.dest = destination;
    options.read_only = snapshot == Snapshot::active;
    const int code = SPI_execute_plan_extended(plan, &options);
    if (code < 0) elog(ERROR, "SPI_execute_plan_extended: %s", SPI_result_code_string(code));
  });
}

std::string tid_text(const TidBound& bound) {
  return "(" + std::to_string(bound.block) + "," + std::to_string(bound.offset) + ")";
}

std::vector<std::string> values_of(const Unit& unit) {
  std::vector<std::string> values;
  if (unit.order == Order::block)
    values = {tid_text(unit.from), tid_text(unit.to)};
  else {
    values = unit.after;
    values.insert(values.end(), unit.upto.begin(), unit.upto.end());
  }
  if (unit.stripes > 1) {
    values.push_back(std::to_string(unit.stripes));
    values.push_back(std::to_string(unit.next));
  }
  return values;
}

// Sessions that wait for this transaction to end, because of a row that it has locked. (Who waits for the table itself
// is next in its queue when the batch commits.)
int count_waiters() {
  return call_pg([] {
    const TransactionId xid = GetCurrentTransactionIdIfAny();
    if (!TransactionIdIsValid(xid)) return 0;
    LOCKTAG tag;
    SET_LOCKTAG_TRANSACTION(tag, xid);
    return std::max(0, LockWaiterCount(&tag) - 1); // one request is our own
  });
}

} // namespace

BatchRunner::BatchRunner(const Spec& spec, Oid target, Oid owner, std::int64_t job)
    : spec_(spec), target_(target), owner_(owner), batch_settings_(spec.settings), range_settings_(canonical_text()) {
  const Settings common{{"row_security", "off"},
                        {"lock_timeout", std::to_string(spec.lock_timeout_ms)},
                        {"log_lock_waits", "off"}, // with watch_for_deadlocks() there would be a line every 10 ms
                        {"statement_timeout", "0"},
                        {"jit", "off"},
                        {"max_parallel_workers_per_gather", "0"},
                        {"escape_string_warning", "off"},
                        {"dbops.in_job", to_text(job)}};
  const Settings ranges{{"enable_seqscan", "off"},
                        {"enable_bitmapscan", "off"},
                        {"enable_indexscan", "on"},
                        {"enable_indexonlyscan", "on"},
                        {"enable_tidscan", "on"}};
  batch_settings_.insert(batch_settings_.end(), common.begin(), common.end());
  if (!spec.subqueries) batch_settings_.insert(batch_settings_.end(), ranges.begin(), ranges.end());
  table_lock_settings_ = batch_settings_;
  // Children are found row by row, as the foreign keys' own checks find them: the planner takes a range of two bounds
  // for a quarter of the table, and would read all of theirs.
  dependent_settings_ = batch_settings_;
  dependent_settings_.insert(dependent_settings_.end(), {{"enable_hashjoin", "off"}, {"enable_mergejoin", "off"}});
  // The worker's own 50 ms (worker.cpp) would cancel an autovacuum as well; see WatchFor::table.
  table_lock_settings_.emplace_back("deadlock_timeout", "500ms");
  for (const auto& [name, value] : spec.settings)
    if (name == "search_path") range_settings_.emplace_back(name, value);
  range_settings_.insert(range_settings_.end(), common.begin(), common.end());
  range_settings_.insert(range_settings_.end(), ranges.begin(), ranges.end());
}

// Plans are made anew for each execution: with the bounds known, the planner knows that the range is small.
SPIPlanPtr BatchRunner::kept_plan(const Statement& statement) {
  if (auto found = plans_.find(statement.text); found != plans_.end()) return found->second;
  if (plans_.size() >= 64) forget_plans(); // each partition has its own
  SPIPlanPtr plan = call_pg([&statement] {
    SPIPlanPtr made = SPI_prepare_cursor(statement.text.c_str(), static_cast<int>(statement.types.size()),
                                         const_cast<Oid*>(statement.types.data()), CURSOR_OPT_CUSTOM_PLAN);
    if (made == nullptr) elog(ERROR, "SPI_prepare_cursor: %s", SPI_result_code_string(SPI_result));
    SPI_keepplan(made);
    return made;
  });
  plans_.emplace(statement.text, plan);
  return plan;
}

BatchRunner::~BatchRunner() {
  forget_plans();
}

void BatchRunner::forget_plans() noexcept {
  for (const auto& [text, plan] : plans_) {
    try {
      call_pg([plan = plan] { SPI_freeplan(plan); });
    } catch (...) { // nothing to be done: the process frees it with the rest
    }
  }
  plans_.clear();
}

template <typename F>
auto BatchRunner::as_owner(const Settings& settings, F&& fn) {
  // A session that runs somebody else's job must not be reachable for that role's triggers and functions.
  const int flags = GetUserId() == owner_ ? 0 : SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION;
  return as_role(owner_, flags, [&] {
    const int nest_level = enter_settings(settings);
    auto result = fn();
    // Nor may what they SET stay behind in it: a search_path would decide what the next statements call.
    if (flags == 0)
      leave_settings(nest_level);
    else
      undo_settings(nest_level);
    return result;
  });
}

const Table* BatchRunner::table(Oid relation) {
  watch_relations();
  if (std::exchange(tables_as_of_, invalidations) != invalidations) {
    tables_.clear();
    dependents_.clear(); // a foreign key that came or went
  }
  if (auto found = tables_.find(relation); found != tables_.end()) {
    // Renamed or moved: its statements are written anew.
    const std::string name = qualified_name(relation);
    if (name == found->second.name) return &found->second;
    tables_.erase(found);
    if (name.empty()) return nullptr;
  }
  // For its moment's lock it waits no longer than a batch does: a snapshot may be held, and other tables locked.
  const int nest_level = enter_settings({{"lock_timeout", std::to_string(spec_.lock_timeout_ms)}});
  const std::optional<Table> described =
      spec_.by_age ? describe_table_by(relation, spec_.age_column) : describe_table(relation, spec_.columns);
  leave_settings(nest_level);
  if (!described || !belongs_to(relation, target_)) return nullptr;
  return &tables_.emplace(relation, *described).first->second;
}

const Table* BatchRunner::lock_table(Oid relation) {
  watch_for_deadlocks(WatchFor::table);
  as_owner(table_lock_settings_, [this, relation] {
    if (spec_.erase) lifecycle::begin_deleting();
    call_pg([relation] { LockRelationOid(relation, RowExclusiveLock); });
    return true;
  });
  watch_for_deadlocks(WatchFor::rows);
  return table(relation);
}

// What the statement leaves out besides the condition: rows that are held and, if that is the policy, referred to.
std::string BatchRunner::kept_out(const Table& table) const {
  if (!spec_.erase) return {};
  lifecycle::begin_deleting();
  std::string text = lifecycle::unheld(table.oid, spec_.alias, spec_.children);
  if (spec_.children == lifecycle::Children::forbid) text += unreferred(spec_.alias, dependents_of(table.oid));
  return text;
}

const std::vector<lifecycle::Dependent>& BatchRunner::dependents_of(Oid relation) const {
  const auto found = dependents_.find(relation);
  if (found != dependents_.end()) return found->second;
  return dependents_.emplace(relation, lifecycle::dependents_of(relation, spec_.children)).first->second;
}

Statement BatchRunner::statement_of(const Table& table, const Unit& unit, bool& with_dependents) const {
  const std::string left_out = kept_out(table);
  if (spec_.children == lifecycle::Children::erase || spec_.children == lifecycle::Children::set_null) {
    const std::vector<lifecycle::Dependent>& dependents = dependents_of(table.oid);
    with_dependents = !dependents.empty();
    if (with_dependents) return erase_with_dependents_statement(table, spec_, shape_of(unit), left_out, dependents);
  }
  return batch_statement(table, spec_, shape_of(unit), left_out);
}

namespace {

// The rows that a batch's DELETE would choose, under the lock that the DELETE takes.
Statement locking(const Statement& batch) {
  constexpr std::string_view head = "DELETE FROM ";
  return {"SELECT pg_catalog.count(*) FROM (SELECT 1 FROM " + batch.text.substr(head.size()) +
              " FOR UPDATE) dbops_locked",
          batch.types, true};
}

// Who inserts a row that refers to one of these has that locked FOR KEY SHARE, which the DELETE waits for, and then
// goes on by what it saw before: the foreign key's ON DELETE CASCADE would take the new row along, though the rule says
// that it is to be kept, or set to NULL. Under the lock, the DELETE sees it. Locking takes the privilege UPDATE; who
// has DELETE alone borrows it from the table's owner.
void lock_parents(const Table& table, SPIPlanPtr plan, ParamListInfo parameters) {
  const auto lock = [&] {
    execute(plan, parameters, nullptr);
    (void)take_result();
  };
  if (call_pg([&table] { return pg_class_aclcheck(table.oid, GetUserId(), ACL_UPDATE) == ACLCHECK_OK; }))
    lock();
  else
    as_role(table.owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION, lock);
}

} // namespace

BatchResult BatchRunner::run(const Table& table, const Unit& unit) {
  bool with_dependents = false;
  const Statement statement = statement_of(table, unit, with_dependents);
  BatchResult result;
  std::uint64_t processed = 0;
  // Deferred triggers would run at COMMIT, as the session's user. At the end of the statement they are the owner's
  // still.
  if (GetUserId() != owner_) query("SET CONSTRAINTS ALL IMMEDIATE");
  KeptCounter counter = make_counter();
  const std::uint64_t wal_before = pgWalUsage.wal_bytes;
  ParamListInfo parameters = as_owner(range_settings_, [&] { return bind_values(statement, values_of(unit)); });
  const bool keeps_children =
      spec_.children == lifecycle::Children::forbid || spec_.children == lifecycle::Children::set_null;
  std::optional<Statement> lock;
  if (spec_.erase && keeps_children && !dependents_of(table.oid).empty())
    lock = locking(with_dependents ? batch_statement(table, spec_, shape_of(unit), kept_out(table)) : statement);
  as_owner(with_dependents ? dependent_settings_ : batch_settings_, [&] {
    if (lock) lock_parents(table, kept_plan(*lock), parameters);
    SPIPlanPtr plan = kept_plan(statement);
    if (spec_.skip_triggers) {
      // Asked again: the table may have another owner than when the job was made, a new partition as well.
      if (!call_pg([oid = table.oid, role = owner_] { return compat::owns_relation(oid, role); }))
        throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                       "only the owner of " + table.name + " may leave out its triggers");
      arm_trigger_filter(table.oid);
    }
    const EarlyFlush early_flush;
    try {
      execute(plan, parameters, statement.returns && !with_dependents ? &counter.receiver : nullptr);
      processed = SPI_processed;
      if (with_dependents) {
        const Rows counts = take_result();
        processed = static_cast<std::uint64_t>(counts.integer(0, 0));
        result.dependent_rows = counts.integer(0, 1);
      }
    } catch (...) {
      disarm_trigger_filter();
      throw;
    }
    disarm_trigger_filter();
    return true;
  });
  result.rows = static_cast<std::int64_t>(processed);
  result.kept = spec_.condition.empty() ? 0 : counter.kept;
  result.moved = counter.moved;
  result.wal_bytes = pgWalUsage.wal_bytes - wal_before;
  result.waiters = count_waiters();
  return result;
}

void BatchRunner::keep_settings_until_commit() const {
  if (GetUserId() != owner_) return; // they have run already
  for (const auto& [name, value] : batch_settings_)
    call_pg([&name = name, &value = value] {
      (void)set_config_option(name.c_str(), value.c_str(), PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
    });
}

Rows BatchRunner::select(const Statement& statement, const std::vector<std::string>& values) {
  return as_owner(range_settings_, [&] {
    SPIPlanPtr plan = kept_plan(statement);
    execute(plan, bind_values(statement, values), nullptr);
    return take_result();
  });
}

namespace {

std::optional<Key> first_key(const Rows& rows) {
  if (rows.empty()) return std::nullopt;
  Key key;
  for (std::size_t i = 0; i < rows.rows.front().size(); ++i)
    key.push_back(rows.text(0, i));
  return key;
}

} // namespace

std::optional<Key> BatchRunner::nth_key(const Table& table, const Key& after, const Key& upto, std::int64_t n) {
  const RangeShape shape{Order::key, after.size(), upto.size(), false};
  if (spec_.by_age && !upto.empty()) {
    const std::optional<std::string> age = after.empty() ? Value() : Value(after.front());
    const AgeAhead ahead =
        as_owner(range_settings_, [&] { return age_ahead(table, age, after.size() > 1, upto.front(), n + 1); });
    if (!ahead.more) return std::nullopt;
    if (ahead.age) return Key{*ahead.age};
    // So many rows of one age: the whole key has to tell them apart.
  }
  std::vector<std::string> values = after;
  values.insert(values.end(), upto.begin(), upto.end());
  values.push_back(std::to_string(n));
  return first_key(select(nth_key_statement(table, shape), values));
}

std::optional<Key> BatchRunner::last_key(const Table& table) {
  return first_key(select(last_key_statement(table, spec_), {}));
}

std::optional<BatchRunner::Middle> BatchRunner::middle(const Table& table, const Unit& unit) {
  const Rows found = select(middle_statement(table, shape_of(unit)), values_of(unit));
  std::optional<Key> key = first_key(found);
  if (!key) return std::nullopt;
  key->pop_back();
  return Middle{*key, found.integer(0, key->size())};
}

std::string BatchRunner::first_row(const Table& table, const Unit& unit) {
  const std::optional<Key> key = first_key(select(first_row_statement(table, shape_of(unit)), values_of(unit)));
  if (!key) return {};
  if (!table.key.usable()) return "ctid " + key->front();
  std::string text;
  for (const std::string& part : *key)
    text += (text.empty() ? "(" : ", ") + part;
  return text + ")";
}

std::int64_t BatchRunner::matching(const Table& table, std::int64_t limit) {
  const Statement statement = matching_statement(table, spec_, limit, kept_out(table));
  return as_owner(batch_settings_, [&] {
    execute(kept_plan(statement), bind_values(statement, {}), nullptr, Snapshot::active);
    return take_result().integer(0, 0);
  });
}

} // namespace dbops::server::backfill
