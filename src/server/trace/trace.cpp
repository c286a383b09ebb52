// dbops.trace: what each statement of a script locks, rewrites and reads, found by making it where nobody is hurt.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/migrate/statement.h"
#include "server/arguments.h"
#include "server/compat.h"
#include "server/ddl/catalog.h"
#include "server/ddl/reach.h"
#include "server/engine/time_limit.h"
#include "server/lint/catalog.h"
#include "server/migration/history.h"
#include "server/migration/script.h"
#include "server/trace/clones.h"

extern "C" {
#include "catalog/namespace.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
}

namespace dbops::server::trace {

namespace {

namespace migrate = core::migrate;

// A relation as a statement has left it.
struct State {
  std::string file; // changes when it is written anew
  std::int64_t reads = 0;
};
using States = std::map<Oid, State>;

struct Row {
  std::string object, lock;
  bool rewrites = false, reads = false;
  std::int64_t bytes = 0;
};

// Of relations that users make.
States states() {
  const Rows found = ask_catalog(
      "SELECT c.oid, c.relfilenode, pg_catalog.pg_stat_get_xact_numscans(c.oid) FROM pg_catalog.pg_class c JOIN "
      "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'i', 'I', 'm', 'v') AND "
      "n.nspname "
      "<> 'pg_catalog' AND n.nspname <> 'information_schema' AND n.nspname <> 'dbops' AND n.nspname !~ '^pg_toast'");
  States states;
  for (std::size_t i = 0; i < found.size(); ++i)
    states[static_cast<Oid>(found.integer(i, 0))] = {found.text(i, 1), found.integer(i, 2)};
  return states;
}

// "relation mode" that this transaction holds.
std::vector<std::pair<Oid, std::string>> held_locks() {
  const Rows found = ask_catalog(
      "SELECT l.relation, l.mode FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN "
      "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE l.locktype = 'relation' AND l.pid = "
      "pg_catalog.pg_backend_pid() AND l.database <> 0 AND n.nspname <> 'pg_catalog' AND n.nspname <> "
      "'information_schema' AND n.nspname <> 'dbops' AND n.nspname !~ '^pg_toast'");
  std::vector<std::pair<Oid, std::string>> locks;
  for (std::size_t i = 0; i < found.size(); ++i)
    locks.emplace_back(static_cast<Oid>(found.integer(i, 0)), found.text(i, 1));
  return locks;
}

constexpr std::array<std::pair<const char*, const char*>, 8> modes{{
    {"AccessShareLock", "ACCESS SHARE"},
    {"RowShareLock", "ROW SHARE"},
    {"RowExclusiveLock", "ROW EXCLUSIVE"},
    {"ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"},
    {"ShareLock", "SHARE"},
    {"ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"},
    {"ExclusiveLock", "EXCLUSIVE"},
    {"AccessExclusiveLock", "ACCESS EXCLUSIVE"},
}};
std::size_t strength(const std::string& mode) {
  for (std::size_t i = 0; i < modes.size(); ++i)
    if (mode == modes.at(i).first) return i;
  return 0;
}

// The tables that a statement names and that a copy can stand for; empty: it is not of that kind.
struct Targets {
  int count;
  RangeVar* names[16];
};
void collect(Targets& targets, RangeVar* name) {
  if (name != nullptr && targets.count < 16) targets.names[targets.count++] = name;
}
Targets targets_of(Node* node) {
  Targets targets{};
  if (IsA(node, AlterTableStmt) && reinterpret_cast<AlterTableStmt*>(node)->objtype == OBJECT_TABLE) {
    auto* alter = reinterpret_cast<AlterTableStmt*>(node);
    ListCell* cell = nullptr;
    foreach (cell, alter->cmds) {
      auto* command = lfirst_node(AlterTableCmd, cell);
      if (command->def != nullptr && IsA(command->def, PartitionCmd)) return {};
      if (command->def != nullptr && IsA(command->def, RangeVar)) return {}; // INHERIT
      if (command->def != nullptr && IsA(command->def, Constraint))
        collect(targets, reinterpret_cast<Constraint*>(command->def)->pktable);
      if (command->subtype == AT_AddColumn) {
        ListCell* inner = nullptr;
        foreach (inner, reinterpret_cast<ColumnDef*>(command->def)->constraints)
          if (IsA(lfirst(inner), Constraint)) collect(targets, static_cast<Constraint*>(lfirst(inner))->pktable);
      }
    }
    collect(targets, alter->relation);
  } else if (IsA(node, IndexStmt))
    collect(targets, reinterpret_cast<IndexStmt*>(node)->relation);
  else if (IsA(node, RenameStmt)) {
    auto* rename = reinterpret_cast<RenameStmt*>(node);
    if (rename->renameType == OBJECT_TABLE || rename->renameType == OBJECT_TABCONSTRAINT ||
        (rename->renameType == OBJECT_COLUMN && rename->relationType == OBJECT_TABLE))
      collect(targets, rename->relation);
  } else if (IsA(node, TruncateStmt)) {
    ListCell* cell = nullptr;
    foreach (cell, reinterpret_cast<TruncateStmt*>(node)->relations)
      collect(targets, lfirst_node(RangeVar, cell));
  } else if (IsA(node, CreateTrigStmt))
    collect(targets, reinterpret_cast<CreateTrigStmt*>(node)->relation);
  return targets;
}

// Columns whose dependents a statement breaks or takes along.
std::vector<std::string> changed_columns(Node* node) {
  std::vector<std::string> names;
  if (IsA(node, AlterTableStmt)) {
    ListCell* cell = nullptr;
    foreach (cell, reinterpret_cast<AlterTableStmt*>(node)->cmds) {
      auto* command = lfirst_node(AlterTableCmd, cell);
      if (command->name != nullptr && (command->subtype == AT_DropColumn || command->subtype == AT_AlterColumnType))
        names.emplace_back(command->name);
    }
  } else if (IsA(node, RenameStmt) && reinterpret_cast<RenameStmt*>(node)->renameType == OBJECT_COLUMN)
    names.emplace_back(reinterpret_cast<RenameStmt*>(node)->subname);
  return names;
}

bool is_query(Node* node) {
  return IsA(node, SelectStmt) || IsA(node, InsertStmt) || IsA(node, UpdateStmt) || IsA(node, DeleteStmt) ||
         IsA(node, MergeStmt);
}

class Tracer {
 public:
  // `limit` begins when the first statement is run for real.
  Tracer(FunctionCallInfo fcinfo, const std::string& sql, std::chrono::milliseconds longest,
         std::optional<TimeLimit>& limit)
      : fcinfo_(fcinfo), sql_(sql), longest_(longest), limit_(limit) {}
  void run();

 private:
  void trace(const migrate::Statement& statement);
  bool on_copies(Node* node, const std::string& text);
  void for_real(Node* node, const std::string& text);
  void outside(Node* node);
  void documented(const std::vector<ddl::Reached>& reached);
  void dependents(Node* node, Oid table);
  void report(const States& before, const std::vector<std::pair<Oid, std::string>>& locks_before, bool copies);
  void put(const Row& row, const Value& error = std::nullopt);

  FunctionCallInfo fcinfo_;
  const std::string& sql_;
  const std::chrono::milliseconds longest_;
  std::optional<TimeLimit>& limit_;
  Clones clones_;
  int number_ = 0;
  std::string tag_, found_by_;
  migrate::LineColumn place_;
  std::vector<std::string> invalidates_;
  std::size_t rows_ = 0; // of this statement
};

void Tracer::put(const Row& row, const Value& error) {
  ++rows_;
  const std::string names = migration::text_array(invalidates_);
  call_pg([&] {
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo_->resultinfo);
    const auto text = [](const std::string& value) { return CStringGetTextDatum(value.c_str()); };
    Datum values[11] = {Int32GetDatum(number_),
                        Int32GetDatum(static_cast<int>(place_.line)),
                        text(tag_),
                        text(row.object),
                        text(row.lock),
                        BoolGetDatum(row.rewrites),
                        BoolGetDatum(row.reads),
                        Int64GetDatum(row.bytes),
                        OidInputFunctionCall(F_ARRAY_IN, const_cast<char*>(names.c_str()), TEXTOID, -1),
                        text(found_by_),
                        error ? text(*error) : static_cast<Datum>(0)};
    bool nulls[11] = {};
    nulls[3] = row.object.empty();
    nulls[4] = row.lock.empty();
    nulls[5] = nulls[6] = row.object.empty();
    nulls[7] = row.bytes == 0;
    nulls[8] = invalidates_.empty();
    nulls[9] = found_by_.empty();
    nulls[10] = !error;
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  });
}

// What is different from before, one row a relation.
void Tracer::report(const States& before, const std::vector<std::pair<Oid, std::string>>& locks_before, bool copies) {
  std::map<Oid, Row> rows;
  std::map<Oid, std::size_t> strongest;
  const auto original = [&](Oid relation) {
    for (const Clones::Pair& pair : clones_.pairs())
      if (pair.clone == relation) return pair.original;
    return relation;
  };
  const auto relevant = [&](Oid relation) {
    return copies == (original(relation) != relation) || (copies && before.find(relation) == before.end());
  };
  for (const auto& [relation, mode] : held_locks()) {
    const bool known = before.find(relation) != before.end();
    if (!relevant(relation) || !known) continue; // a new one is in nobody's way
    if (std::find(locks_before.begin(), locks_before.end(), std::pair(relation, mode)) != locks_before.end()) continue;
    Row& row = rows[relation];
    if (row.lock.empty() || strength(mode) > strongest[relation]) {
      strongest[relation] = strength(mode);
      row.lock = modes.at(strength(mode)).second;
    }
  }
  for (const auto& [relation, state] : states()) {
    const auto was = before.find(relation);
    if (was == before.end() || !relevant(relation)) continue;
    if (tag_ == "TRUNCATE TABLE") continue; // nothing is written, and an empty copy read
    if (state.file != was->second.file) rows[relation].rewrites = true;
    if (state.reads != was->second.reads) rows[relation].reads = true;
  }
  for (auto& [relation, row] : rows) {
    const Oid shown = original(relation);
    row.object = qualified_name(shown);
    if (row.rewrites || row.reads)
      row.bytes = bookkeep("SELECT dbops.relation_bytes($1::oid)", {to_text(shown)}).integer(0, 0);
    put(row);
  }
}

bool Tracer::on_copies(Node* node, const std::string& text) {
  const Targets targets = call_pg([node] { return targets_of(node); });
  if (targets.count == 0) return false;
  std::vector<Oid> tables;
  for (int i = 0; i < targets.count; ++i) {
    const Oid table = call_pg([&] { return RangeVarGetRelid(targets.names[i], NoLock, true); });
    if (!OidIsValid(table)) return false;
    const auto pair = std::find_if(clones_.pairs().begin(), clones_.pairs().end(),
                                   [table](const Clones::Pair& one) { return one.clone == table; });
    tables.push_back(pair == clones_.pairs().end() ? table : pair->original); // made for an earlier statement
  }
  for (const Oid table : tables)
    if (!clones_.add(table)) return false;
  for (int i = 0; i < targets.count; ++i)
    targets.names[i]->schemaname = call_pg([] { return pstrdup("pg_temp"); });
  if (IsA(node, AlterTableStmt) || IsA(node, RenameStmt)) dependents(node, tables.back());
  clones_.release_locks();
  const States before = states();
  const auto locks = held_locks();
  found_by_ = "copy";
  call_pg([node, &text] {
    PlannedStmt* wrapper = makeNode(PlannedStmt);
    wrapper->commandType = CMD_UTILITY;
    wrapper->utilityStmt = node;
    ProcessUtility(wrapper, text.c_str(), false, PROCESS_UTILITY_SUBCOMMAND, nullptr, nullptr, None_Receiver, nullptr);
    CommandCounterIncrement();
  });
  report(before, locks, true);
  // Copies are made of the neighbours alone; who refers to those is emptied as well.
  if (IsA(node, TruncateStmt) && reinterpret_cast<TruncateStmt*>(node)->behavior == DROP_CASCADE) {
    std::vector<ddl::Reached> reached = ddl::reached_by_cascade(tables);
    std::erase_if(reached, [this](const ddl::Reached& one) { return clones_.has(one.relation); });
    found_by_ = "documentation";
    documented(reached);
  }
  return true;
}

void Tracer::documented(const std::vector<ddl::Reached>& reached) {
  for (const ddl::Reached& one : reached) {
    Row row{qualified_name(one.relation), one.lock, one.rewrites, one.reads, 0};
    if (one.rewrites || one.reads)
      row.bytes = bookkeep("SELECT dbops.relation_bytes($1::oid)", {to_text(one.relation)}).integer(0, 0);
    put(row);
  }
}

void Tracer::dependents(Node* node, Oid table) {
  for (const std::string& column : changed_columns(node))
    for (const auto& [relation, dependent] : lint::Catalog::dependents_of_column(table, column))
      invalidates_.push_back(dependent);
}

// Queries are only analysed, which takes their locks; they are not executed.
void Tracer::for_real(Node* node, const std::string& text) {
  const States before = states();
  const auto locks = held_locks();
  // The tables themselves are meant, not the copies that earlier statements have needed.
  const std::string path = call_pg([] { return GetConfigOptionByName("search_path", nullptr, false); });
  const int nest_level = enter_settings({{"search_path", path.empty() ? "pg_temp" : path + ", pg_temp"}});
  if (is_query(node)) {
    found_by_ = "analysis";
    call_pg([node, &text] {
      RawStmt* raw = makeNode(RawStmt);
      raw->stmt = node;
      PushActiveSnapshot(GetTransactionSnapshot());
      (void)pg_analyze_and_rewrite_fixedparams(raw, text.c_str(), nullptr, 0, nullptr);
      PopActiveSnapshot();
    });
  } else {
    found_by_ = "run";
    if (!limit_) limit_.emplace(longest_);
    query(text);
  }
  leave_settings(nest_level);
  report(before, locks, false);
}

// Cannot be made in a transaction, and so not be rolled back: what PostgreSQL's documentation says.
void Tracer::outside(Node* node) {
  found_by_ = "documentation";
  if (IsA(node, ReindexStmt)) return documented(ddl::reached_by_reindex(reinterpret_cast<ReindexStmt*>(node)));
  Row row;
  row.lock = "SHARE UPDATE EXCLUSIVE";
  const auto table = [](RangeVar* name) {
    const Oid oid = call_pg([name] { return name == nullptr ? InvalidOid : RangeVarGetRelid(name, NoLock, false); });
    return OidIsValid(oid) ? oid : InvalidOid;
  };
  Oid relation = InvalidOid;
  if (IsA(node, IndexStmt))
    relation = table(reinterpret_cast<IndexStmt*>(node)->relation);
  else if (IsA(node, AlterTableStmt))
    relation = table(reinterpret_cast<AlterTableStmt*>(node)->relation);
  else if (IsA(node, DropStmt))
    relation = table(call_pg([node] {
      return makeRangeVarFromNameList(static_cast<List*>(linitial(reinterpret_cast<DropStmt*>(node)->objects)));
    }));
  else {
    put({}, "cannot be traced: it must not be in a transaction");
    return;
  }
  if (OidIsValid(relation)) {
    const Rows found =
        ask_catalog("SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = $1::oid", {to_text(relation)});
    if (!found.empty()) relation = static_cast<Oid>(found.integer(0, 0));
  }
  row.object = OidIsValid(relation) ? qualified_name(relation) : "";
  row.reads = IsA(node, IndexStmt);
  if (row.reads && OidIsValid(relation))
    row.bytes = bookkeep("SELECT dbops.relation_bytes($1::oid)", {to_text(relation)}).integer(0, 0);
  put(row);
}

void Tracer::trace(const migrate::Statement& statement) {
  const std::string text(statement.text);
  rows_ = 0;
  found_by_.clear();
  invalidates_.clear();
  place_ = migrate::line_column(sql_, statement.position);
  Node* node = call_pg([&text]() -> Node* {
    List* parsed = raw_parser(text.c_str(), RAW_PARSE_DEFAULT);
    return parsed == NIL ? nullptr : linitial_node(RawStmt, parsed)->stmt;
  });
  if (node == nullptr) return;
  tag_ = call_pg([node] { return GetCommandTagName(CreateCommandTag(node)); });
  if (statement.data) throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED, "COPY FROM STDIN cannot be traced");
  if (IsA(node, TransactionStmt)) return;
  if (migration::needs_top_level(node) || migration::is_of_partitioned(node))
    outside(node);
  else if (!on_copies(node, text))
    for_real(node, text);
  if (rows_ == 0) put({});
}

void Tracer::run() {
  migrate::SplitError problem;
  const auto statements = migrate::split(sql_, standard_conforming_strings, problem);
  if (!statements) throw SqlError(ERRCODE_SYNTAX_ERROR, std::string(migrate::to_string(problem.problem)));
  for (const migrate::Statement& statement : *statements) {
    ++number_;
    try {
      trace(statement);
    } catch (const SqlError& error) {
      if (error.code == ERRCODE_QUERY_CANCELED) throw;
      throw SqlError(error.code, "statement " + to_text(number_) + ": " + error.message, error.hint, error.detail);
    }
  }
}

// Everything inside is undone, with the locks that it has taken.
void traced(FunctionCallInfo fcinfo, const std::string& sql, std::chrono::milliseconds lock_timeout) {
  // Waiting for locks and holding them; who comes later waits for both.
  const std::chrono::milliseconds longest = lock_timeout + std::max(lock_timeout, std::chrono::milliseconds(1000));
  std::optional<TimeLimit> limit;
  const MemoryContext memory = CurrentMemoryContext;
  const ResourceOwner owner = CurrentResourceOwner;
  const int level = client_min_messages;
  call_pg([] { BeginInternalSubTransaction("dbops trace"); });
  MemoryContextSwitchTo(memory);
  client_min_messages = ERROR;
  std::optional<SqlError> failure;
  try {
    lock_at_most((to_text(static_cast<std::int64_t>(lock_timeout.count())) + "ms").c_str());
    Tracer(fcinfo, sql, longest, limit).run();
  } catch (const SqlError& error) {
    failure = error.code == ERRCODE_QUERY_CANCELED && limit && limit->over()
                  ? SqlError(ERRCODE_LOCK_NOT_AVAILABLE,
                             "a statement that no copy could stand for has held its locks for too long",
                             "Everything was rolled back. Trace it in a copy of the database.")
                  : error;
  }
  call_pg([] { RollbackAndReleaseCurrentSubTransaction(); });
  MemoryContextSwitchTo(memory);
  CurrentResourceOwner = owner;
  client_min_messages = level;
  if (failure) throw *failure;
}

} // namespace

} // namespace dbops::server::trace

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_trace) {
  return boundary([fcinfo]() -> Datum {
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    SpiConnection spi;
    Arguments in(fcinfo);
    const auto sql = in.string();
    const auto lock_timeout = in.seconds();
    if (!sql) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "sql must not be null");
    if (!lock_timeout || !(*lock_timeout >= 0.001 && *lock_timeout <= 3600))
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "lock_timeout must be between 1 ms and 1 hour");
    trace::traced(fcinfo, *sql, std::chrono::milliseconds(std::lround(*lock_timeout * 1000)));
    spi.close();
    return static_cast<Datum>(0);
  });
}
