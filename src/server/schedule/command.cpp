#include "server/schedule/command.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "server/compat.h"
#include "server/lifecycle/holds.h"
#include "server/schedule/capture.h"

extern "C" {
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/defrem.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "storage/lock.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
}

namespace dbops::server::schedule {

namespace {

// Never destroyed: proc_exit may longjmp past.
Settings& session_settings() {
  static auto& settings = *new Settings;
  return settings;
}

// --- statements -----------------------------------------------------------------------------------------------------

bool detaches_concurrently(const AlterTableStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->cmds) {
    const auto* command = lfirst_node(AlterTableCmd, cell);
    if (command->subtype == AT_DetachPartition && reinterpret_cast<PartitionCmd*>(command->def)->concurrent)
      return true;
    if (command->subtype == AT_DetachPartitionFinalize) return true;
  }
  return false;
}

bool reindexes_outside(ReindexStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->params) {
    auto* option = lfirst_node(DefElem, cell);
    if (std::strcmp(option->defname, "concurrently") == 0 && defGetBoolean(option)) return true;
  }
  return statement->kind != REINDEX_OBJECT_INDEX && statement->kind != REINDEX_OBJECT_TABLE;
}

// Statements that do not, or may not, work in a transaction that somebody else has begun.
bool wants_own_transaction(Node* statement) {
  switch (nodeTag(statement)) {
  case T_VacuumStmt:
    return reinterpret_cast<VacuumStmt*>(statement)->is_vacuumcmd;
  case T_IndexStmt:
    return reinterpret_cast<IndexStmt*>(statement)->concurrent;
  case T_ReindexStmt:
    return reindexes_outside(reinterpret_cast<ReindexStmt*>(statement));
  case T_DropStmt:
    return reinterpret_cast<DropStmt*>(statement)->concurrent;
  case T_ClusterStmt:
    return reinterpret_cast<ClusterStmt*>(statement)->relation == nullptr;
  case T_AlterTableStmt:
    return detaches_concurrently(reinterpret_cast<AlterTableStmt*>(statement));
  case T_TransactionStmt:
  case T_CallStmt:
  case T_CreatedbStmt:
  case T_DropdbStmt:
  case T_AlterDatabaseStmt:
  case T_AlterSystemStmt:
  case T_CreateTableSpaceStmt:
  case T_DropTableSpaceStmt:
  case T_CreateSubscriptionStmt:
  case T_AlterSubscriptionStmt:
  case T_DropSubscriptionStmt:
  case T_DiscardStmt:
    return true;
  default:
    return false;
  }
}

bool any_wants_own_transaction(List* statements) {
  ListCell* cell = nullptr;
  foreach (cell, statements)
    if (wants_own_transaction(lfirst_node(RawStmt, cell)->stmt)) return true;
  return false;
}

// There is no client that could send or take the rows; the server's own process would be at the other end.
void refuse_copy(List* statements) {
  ListCell* cell = nullptr;
  foreach (cell, statements) {
    Node* statement = lfirst_node(RawStmt, cell)->stmt;
    if (IsA(statement, CopyStmt) && reinterpret_cast<CopyStmt*>(statement)->filename == nullptr)
      ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                      errmsg("a scheduled command cannot COPY from STDIN or to STDOUT"),
                      errhint("There is no client. COPY from or to a file or a program, or INSERT ... SELECT.")));
  }
}

struct CommandState {
  const char* text;
  MemoryContext memory;
  Capture* capture;
};

// Whether a statement is under way that has a time of its own (statement_timeout).
bool statement_is_timed = false;

void stop_timing_statement() {
  statement_is_timed = false;
  disable_timeout(STATEMENT_TIMEOUT, false);
}

// What statement_timeout has cancelled: only then is its timer, which the statement has set, not running any more. The
// message alone, in the language of the server, does not tell, as a function could raise the same; it does tell that a
// statement which has caught its timeout was cancelled by somebody later (postgres.c, ProcessInterrupts).
bool statement_time_is_over(const SqlError& error) {
  return statement_is_timed && !get_timeout_active(STATEMENT_TIMEOUT) &&
         error.message != _("canceling statement due to user request");
}

// Before its first transaction, which hides the partition's rows; of every other detaching the guard asks. One that is
// refused for another reason is refused by the statement itself.
void ask_holds_of_detach_concurrently(RawStmt* statement) {
  if (!IsA(statement->stmt, AlterTableStmt) || IsTransactionBlock()) return;
  auto* alter = reinterpret_cast<AlterTableStmt*>(statement->stmt);
  ListCell* cell = nullptr;
  foreach (cell, alter->cmds) {
    auto* command = lfirst_node(AlterTableCmd, cell);
    if (command->subtype != AT_DetachPartition) continue;
    auto* detach = castNode(PartitionCmd, command->def);
    if (!detach->concurrent) continue;
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    const Oid parent = RangeVarGetRelid(alter->relation, NoLock, true);
    const Oid partition = RangeVarGetRelid(detach->name, NoLock, true);
    if (OidIsValid(parent) && OidIsValid(partition)) lifecycle::require_detachable(partition, parent);
    PopActiveSnapshot();
    CommitTransactionCommand();
  }
}

// postgres.c, exec_simple_query, for one statement of the list.
void run_statement(const CommandState& state, RawStmt* statement, bool isolate, bool last) {
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  statement_is_timed = StatementTimeout > 0;
  if (statement_is_timed) enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
  if (IsAbortedTransactionBlockState() && !IsA(statement->stmt, TransactionStmt))
    ereport(ERROR, (errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION), errmsg("current transaction is aborted")));
  if (!isolate) BeginImplicitTransactionBlock();
  CHECK_FOR_INTERRUPTS();
  MemoryContext previous = MemoryContextSwitchTo(state.memory);
  const bool snapshot = analyze_requires_snapshot(statement);
  if (snapshot) PushActiveSnapshot(GetTransactionSnapshot());
  List* queries = pg_analyze_and_rewrite_fixedparams(statement, state.text, nullptr, 0, nullptr);
  List* plans = pg_plan_queries(queries, state.text, CURSOR_OPT_PARALLEL_OK, nullptr);
  if (snapshot) PopActiveSnapshot();
  Portal portal = CreatePortal("", true, true);
  portal->visible = false;
  PortalDefineQuery(portal, nullptr, state.text, CreateCommandTag(statement->stmt), plans, nullptr);
  PortalStart(portal, nullptr, 0, InvalidSnapshot);
  DestReceiver* receiver = make_row_receiver(*state.capture);
  MemoryContextSwitchTo(previous);
  QueryCompletion completion;
  compat::run_portal(portal, receiver, &completion);
  PortalDrop(portal, false);
  if (isolate || last || IsA(statement->stmt, TransactionStmt)) {
    if (!isolate) EndImplicitTransactionBlock();
    stop_timing_statement();
    CommitTransactionCommand();
  } else {
    CommandCounterIncrement();
    stop_timing_statement();
  }
  append_captured(&state.capture->output, GetCommandTagName(completion.commandTag), state.capture->limit);
  if (command_tag_display_rowcount(completion.commandTag)) {
    state.capture->rows += static_cast<std::int64_t>(completion.nprocessed);
    char count[32];
    pg_snprintf(count, sizeof count, " " UINT64_FORMAT, completion.nprocessed);
    append_captured(&state.capture->output, count, state.capture->limit);
  }
  append_captured(&state.capture->output, "\n", state.capture->limit);
}

void run_statements(const CommandState& state) {
  debug_query_string = state.text;
  pgstat_report_activity(STATE_RUNNING, state.text);
  SetCurrentStatementStartTimestamp();
  MemoryContext previous = MemoryContextSwitchTo(state.memory);
  List* statements = pg_parse_query(state.text);
  MemoryContextSwitchTo(previous);
  refuse_copy(statements);
  const bool isolate = list_length(statements) == 1 || any_wants_own_transaction(statements);
  ListCell* cell = nullptr;
  foreach (cell, statements) {
    ask_holds_of_detach_concurrently(lfirst_node(RawStmt, cell));
    run_statement(state, lfirst_node(RawStmt, cell), isolate, lnext(statements, cell) == nullptr);
  }
  if (IsTransactionBlock())
    ereport(ERROR,
            (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
             errmsg("the command has left a transaction open, which is rolled back"), errhint("End it with COMMIT.")));
}

// --- before and after -----------------------------------------------------------------------------------------------

volatile sig_atomic_t time_is_over = false;

void at_time_limit() {
  time_is_over = true;
  kill(MyProcPid, SIGINT);
}

void start_time_limit(double seconds) {
  static const TimeoutId limit = RegisterTimeout(USER_TIMEOUT, at_time_limit);
  time_is_over = false;
  if (seconds > 0) enable_timeout_after(limit, static_cast<int>(std::min(seconds * 1000, 2e9)));
}

void apply_settings(const Settings& settings, bool as_superuser) {
  if (settings.empty()) return;
  call_pg([&settings, as_superuser] {
    StartTransactionCommand();
    for (const auto& [name, value] : settings)
      (void)set_config_option(name.c_str(), value.c_str(), as_superuser || superuser() ? PGC_SUSET : PGC_USERSET,
                              PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
    CommitTransactionCommand();
  });
}

// As DISCARD ALL does, without throwing the engine's plans away.
void clean_session() {
  call_pg([] {
    disable_all_timeouts(false);
    QueryCancelPending = false;
    AbortOutOfAnyTransaction();
    StartTransactionCommand();
    PortalHashTableDeleteAll();
    SetPGVariable("session_authorization", NIL, false);
    ResetAllOptions();
    DropAllPreparedStatements();
    ResetTempTableNamespace();
    ResetSequenceCaches();
    CommitTransactionCommand();
    LockReleaseSession(USER_LOCKMETHOD);
    debug_query_string = nullptr;
    pgstat_report_stat(true);
    pgstat_report_activity(STATE_IDLE, nullptr);
  });
}

// What the command has done stands, whatever cleaning up after it meets: a cancel, above all, while it waits for
// somebody who has locked a temporary table.
std::optional<SqlError> try_to_clean_session() {
  try {
    clean_session();
    return std::nullopt;
  } catch (const SqlError& error) {
    // With its transaction the settings came back, default_transaction_read_only perhaps, and the role.
    call_pg([] {
      HOLD_INTERRUPTS();
      AbortOutOfAnyTransaction();
      StartTransactionCommand();
      SetPGVariable("session_authorization", NIL, false);
      ResetAllOptions();
      CommitTransactionCommand();
      RESUME_INTERRUPTS();
    });
    return error;
  }
}

std::string without_last_newline(const StringInfoData& text) {
  std::string copy(text.data, static_cast<std::size_t>(text.len));
  if (!copy.empty() && copy.back() == '\n') copy.pop_back();
  return copy;
}

List* parse(const std::string& text) {
  return call_pg([&text] { return raw_parser(text.c_str(), RAW_PARSE_DEFAULT); });
}

} // namespace

CommandResult run_command(const Spec& spec) {
  CommandResult result;
  Capture capture{};
  MemoryContext memory = call_pg([&capture, &spec] {
    MemoryContext made = AllocSetContextCreate(TopMemoryContext, "dbops scheduled command", ALLOCSET_DEFAULT_SIZES);
    begin_capture(capture, made, spec.max_output);
    return made;
  });
  const lifecycle::GuardedDeletions guarded;
  try {
    apply_settings(session_settings(), true);
    apply_settings(spec.settings, false);
    call_pg([&] {
      start_time_limit(spec.time_limit);
      redirect_messages(capture);
      run_statements({spec.command.c_str(), memory, &capture});
    });
  } catch (const SqlError& error) {
    result.error = error;
  }
  restore_messages();
  const bool cancelled = result.error && result.error->code == ERRCODE_QUERY_CANCELED;
  result.over_time = cancelled && time_is_over;
  result.statement_timeout = cancelled && statement_time_is_over(*result.error);
  statement_is_timed = false;
  result.unclean = try_to_clean_session();
  result.rows = capture.rows;
  result.output = without_last_newline(capture.output);
  result.notices = without_last_newline(capture.notices);
  call_pg([memory] { MemoryContextDelete(memory); });
  return result;
}

void remember_session_settings() {
  Settings& settings = session_settings();
  settings.clear();
  for (const char* name :
       {"default_transaction_read_only", "default_transaction_isolation", "default_transaction_deferrable",
        "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "deadlock_timeout"})
    settings.emplace_back(name, call_pg([name] { return GetConfigOptionByName(name, nullptr, false); }));
}

void check_command(const std::string& text) {
  List* statements = nullptr;
  try {
    statements = parse(text);
  } catch (const SqlError& error) {
    SqlError about = error;
    about.message = "in command: " + error.message;
    throw about;
  }
  if (call_pg([statements] { return list_length(statements); }) == 0)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "command has no statement");
  call_pg([statements] { refuse_copy(statements); });
}

void check_setting(const std::string& name, const std::string& value) {
  if (name == "role" || name == "session_authorization" || name.starts_with("dbops."))
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "settings: \"" + name + "\" cannot be set for a schedule",
                   name.starts_with("dbops.") ? "" : "run_as says which role a command runs as.");
  call_pg([&name, &value] {
    (void)set_config_option(name.c_str(), value.c_str(), superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
                            GUC_ACTION_SET, false, ERROR, false);
  });
}

} // namespace dbops::server::schedule
