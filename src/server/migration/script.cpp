#include "server/migration/script.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "server/compat.h"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "tcop/cmdtag.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::migration {

namespace {

namespace migrate = core::migrate;

// Of a boolean option in parentheses: (CONCURRENTLY), (CONCURRENTLY off).
bool has_option(List* options, const char* name) {
  ListCell* cell = nullptr;
  foreach (cell, options) {
    auto* option = lfirst_node(DefElem, cell);
    if (std::strcmp(option->defname, name) == 0) return option->arg == nullptr || defGetBoolean(option);
  }
  return false;
}

bool connects(List* options) {
  ListCell* cell = nullptr;
  foreach (cell, options) {
    auto* option = lfirst_node(DefElem, cell);
    if ((std::strcmp(option->defname, "connect") == 0 || std::strcmp(option->defname, "create_slot") == 0) &&
        !defGetBoolean(option))
      return false;
  }
  return true;
}

bool detaches_concurrently(AlterTableStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->cmds) {
    auto* command = lfirst_node(AlterTableCmd, cell);
    if (command->subtype == AT_DetachPartition && reinterpret_cast<PartitionCmd*>(command->def)->concurrent)
      return true;
  }
  return false;
}

bool reindex_needs_top_level(ReindexStmt* statement) {
  return has_option(statement->params, "concurrently") ||
         (statement->kind != REINDEX_OBJECT_INDEX && statement->kind != REINDEX_OBJECT_TABLE);
}

// What REINDEX or CLUSTER of one table or index names.
RangeVar* reindexed_relation(Node* statement) {
  if (IsA(statement, ReindexStmt)) return reinterpret_cast<ReindexStmt*>(statement)->relation;
  return IsA(statement, ClusterStmt) ? reinterpret_cast<ClusterStmt*>(statement)->relation : nullptr;
}

// Limits and costs: without them a statement does the same thing.
bool is_limit(const char* name) {
  static constexpr std::array<std::string_view, 9> limits{
      "lock_timeout",        "statement_timeout",    "deadlock_timeout", "idle_in_transaction_session_timeout",
      "client_min_messages", "maintenance_work_mem", "work_mem",         "max_parallel_maintenance_workers",
      "application_name"};
  return std::find(limits.begin(), limits.end(), std::string_view(name)) != limits.end();
}

bool changes_meaning(Node* statement) {
  if (!IsA(statement, VariableSetStmt)) return false;
  const auto* set = reinterpret_cast<VariableSetStmt*>(statement);
  return !set->is_local && set->kind != VAR_SET_MULTI && (set->name == nullptr || !is_limit(set->name));
}

// RESET ALL has no name. What a function other than set_config sets is not seen.
bool moves_names(Node* statement, std::string_view text) {
  if (IsA(statement, SelectStmt)) return text.find("set_config") != std::string_view::npos;
  if (!IsA(statement, VariableSetStmt)) return false;
  const auto* set = reinterpret_cast<VariableSetStmt*>(statement);
  const std::string_view name = set->name == nullptr ? "" : set->name;
  return name.empty() || name == "search_path" || name == "role" || name == "session_authorization";
}

// VACUUM FULL, and CLUSTER and REINDEX that are not concurrent.
bool stalls(Node* statement) {
  if (IsA(statement, ClusterStmt)) return true;
  if (IsA(statement, ReindexStmt))
    return !has_option(reinterpret_cast<ReindexStmt*>(statement)->params, "concurrently");
  return IsA(statement, VacuumStmt) && has_option(reinterpret_cast<VacuumStmt*>(statement)->options, "full");
}

struct Parsed {
  int statements;
  NodeTag type;
  bool top_level;
  bool by_relation;
  bool copy;
  bool setting;
  bool stalls;
  bool moves_names;
  TransactionStmtKind transaction;
  const char* tag;
};

Parsed parse(const char* text) {
  return call_pg([text] {
    Parsed result{};
    List* statements = raw_parser(text, RAW_PARSE_DEFAULT);
    result.statements = list_length(statements);
    if (result.statements == 0) return result;
    Node* node = linitial_node(RawStmt, statements)->stmt;
    result.type = nodeTag(node);
    result.by_relation = reindexed_relation(node) != nullptr;
    result.top_level = needs_top_level(node) || is_of_partitioned(node);
    result.setting = changes_meaning(node);
    result.stalls = stalls(node);
    result.moves_names = moves_names(node, text);
    result.tag = GetCommandTagName(CreateCommandTag(node));
    if (IsA(node, CopyStmt)) {
      auto* copy = reinterpret_cast<CopyStmt*>(node);
      result.copy = copy->is_from && copy->filename == nullptr;
    }
    if (IsA(node, TransactionStmt)) result.transaction = reinterpret_cast<TransactionStmt*>(node)->kind;
    return result;
  });
}

[[noreturn]] void fail(const std::string& script, std::size_t position, int code, const std::string& message,
                       const std::string& hint = {}) {
  throw ScriptError(SqlError(code, message, hint), migrate::line_column(script, position));
}

// BEGIN as the first and COMMIT as the last statement are what migrations that were written for psql have.
bool is_bracket(const Parsed& parsed, std::size_t index, std::size_t count) {
  if (index == 0) return parsed.transaction == TRANS_STMT_BEGIN || parsed.transaction == TRANS_STMT_START;
  return index + 1 == count && parsed.transaction == TRANS_STMT_COMMIT;
}

ScriptStatement classify(const std::string& script, const migrate::Statement& source, std::size_t index,
                         std::size_t count) {
  const std::string text(source.text);
  Parsed parsed{};
  try {
    parsed = parse(text.c_str());
  } catch (const SqlError& error) {
    throw ScriptError(error, place_of(error, script, source));
  }
  ScriptStatement result{
      source,         StatementKind::plain, parsed.by_relation, parsed.tag == nullptr ? "" : parsed.tag,
      parsed.setting, parsed.stalls,        parsed.moves_names};
  if (parsed.statements > 1)
    fail(script, source.position, ERRCODE_SYNTAX_ERROR, "more than one statement up to the semicolon");
  if (parsed.type == T_TransactionStmt) {
    if (!is_bracket(parsed, index, count))
      fail(script, source.position, ERRCODE_FEATURE_NOT_SUPPORTED, result.tag + " in a migration",
           "A migration is one transaction; BEGIN at its start and COMMIT at its end are allowed. Put what is to be "
           "committed by itself "
           "into a migration of its own.");
    result.kind = StatementKind::bracket;
  } else if (parsed.copy) {
    if (!source.data) fail(script, source.position, ERRCODE_SYNTAX_ERROR, "COPY ... FROM STDIN without data");
    result.kind = StatementKind::copy;
  } else if (source.data) {
    fail(script, source.position, ERRCODE_SYNTAX_ERROR, "data after what is not COPY ... FROM STDIN");
  } else if (parsed.top_level)
    result.kind = StatementKind::top_level;
  return result;
}

} // namespace

bool needs_top_level(Node* statement) {
  switch (nodeTag(statement)) {
  case T_IndexStmt:
    return reinterpret_cast<IndexStmt*>(statement)->concurrent;
  case T_DropStmt:
    return reinterpret_cast<DropStmt*>(statement)->concurrent;
  case T_ReindexStmt:
    return reindex_needs_top_level(reinterpret_cast<ReindexStmt*>(statement));
  case T_AlterTableStmt:
    return detaches_concurrently(reinterpret_cast<AlterTableStmt*>(statement));
  case T_VacuumStmt:
    return reinterpret_cast<VacuumStmt*>(statement)->is_vacuumcmd;
  case T_ClusterStmt:
    return reinterpret_cast<ClusterStmt*>(statement)->relation == nullptr;
  case T_DiscardStmt:
    return reinterpret_cast<DiscardStmt*>(statement)->target == DISCARD_ALL;
  case T_CreateSubscriptionStmt:
    return connects(reinterpret_cast<CreateSubscriptionStmt*>(statement)->options);
  case T_AlterDatabaseStmt: {
    ListCell* cell = nullptr;
    foreach (cell, reinterpret_cast<AlterDatabaseStmt*>(statement)->options)
      if (std::strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0) return true;
    return false;
  }
  case T_CreatedbStmt:
  case T_DropdbStmt:
  case T_CreateTableSpaceStmt:
  case T_DropTableSpaceStmt:
  case T_AlterSystemStmt:
  case T_DropSubscriptionStmt:
  case T_AlterSubscriptionStmt:
    return true;
  default:
    return false;
  }
}

bool is_of_partitioned(Node* statement) {
  RangeVar* name = reindexed_relation(statement);
  return name != nullptr && call_pg([name] {
           const Oid relation = RangeVarGetRelid(name, NoLock, true);
           const char kind = OidIsValid(relation) ? get_rel_relkind(relation) : '\0';
           return kind == RELKIND_PARTITIONED_TABLE || kind == RELKIND_PARTITIONED_INDEX;
         });
}

migrate::LineColumn place_of(const SqlError& error, const std::string& script, const migrate::Statement& statement) {
  std::size_t position = statement.position;
  if (error.position > 0 && (error.query.empty() || error.query == statement.text)) {
    // In characters of the server's encoding; ASCII but for the rare text.
    const std::string text(statement.text);
    position += static_cast<std::size_t>(call_pg([&text, characters = error.position - 1] {
      return pg_mbcharcliplen(text.data(), static_cast<int>(text.size()), characters);
    }));
  }
  return migrate::line_column(script, position);
}

std::vector<ScriptStatement> read_script(const std::string& text) {
  migrate::SplitError problem;
  const auto statements = migrate::split(text, standard_conforming_strings, problem);
  if (!statements)
    fail(text, problem.position, ERRCODE_SYNTAX_ERROR, std::string(migrate::to_string(problem.problem)),
         problem.problem == migrate::SplitProblem::backslash_command
             ? "A migration is SQL for the server; commands of psql cannot be in it."
             : "");
  std::vector<ScriptStatement> result;
  result.reserve(statements->size());
  for (std::size_t i = 0; i < statements->size(); ++i)
    result.push_back(classify(text, (*statements)[i], i, statements->size()));
  const bool opens = !result.empty() && result.front().kind == StatementKind::bracket;
  const bool closes = result.size() > 1 && result.back().kind == StatementKind::bracket;
  if (opens != closes)
    fail(text, opens ? 0 : result.back().source.position, ERRCODE_FEATURE_NOT_SUPPORTED,
         opens ? "the migration begins a transaction and does not end it" : "COMMIT without BEGIN in the migration",
         "A migration is one transaction by itself: leave both out.");
  const auto last = std::find_if(result.rbegin(), result.rend(),
                                 [](const ScriptStatement& s) { return s.kind == StatementKind::top_level; });
  if (const ScriptStatement* lost = lost_setting(result, static_cast<std::size_t>(result.rend() - last)))
    throw ScriptError(lost_setting_error(*lost), migrate::line_column(text, lost->source.position));
  return result;
}

const ScriptStatement* lost_setting(const std::vector<ScriptStatement>& statements, std::size_t end) {
  for (std::size_t i = 0; i < end; ++i)
    if (statements[i].setting) return &statements[i];
  return nullptr;
}

SqlError lost_setting_error(const ScriptStatement& setting) {
  return {
      ERRCODE_FEATURE_NOT_SUPPORTED, setting.tag + " before a statement that cannot be in a transaction",
      "It ends with the transaction, so that statement would not see it. Write names with their schema, or give the "
      "role, the database or the connection that setting."};
}

} // namespace dbops::server::migration
