// dbops.lint: what would be dangerous in a script, by the server's parser and the live catalog.
#include <algorithm>
#include <array>

#include "server/arguments.h"
#include "server/lint/script.h"

extern "C" {
#include "funcapi.h"
#include "parser/parser.h"
#include "storage/proc.h"
#include "utils/tuplestore.h"
}

namespace dbops::server::lint {

namespace {

namespace migrate = core::migrate;

// --- suppression
// ----------------------------------------------------------------------------------------------------------

struct Suppression {
  std::vector<std::string> rules; // as they were written
  std::string reason;
};

// Names of other linters for our rules.
constexpr std::array<std::pair<const char*, const char*>, 30> aliases{{
    {"require-concurrent-index-creation", "index-not-concurrent"},
    {"E6", "index-not-concurrent"},
    {"require-concurrent-index-deletion", "drop-index-not-concurrent"},
    {"require-concurrent-reindex", "reindex-not-concurrent"},
    {"constraint-missing-not-valid", "check-not-valid-missing"},
    {"E1", "check-not-valid-missing"},
    {"adding-foreign-key-constraint", "foreign-key-not-valid-missing"},
    {"constraint-missing-not-valid", "foreign-key-not-valid-missing"},
    {"adding-not-nullable-field", "set-not-null"},
    {"E2", "set-not-null"},
    {"changing-column-type", "change-column-type"},
    {"E5", "change-column-type"},
    {"disallowed-unique-constraint", "add-unique"},
    {"E7", "add-unique"},
    {"E8", "add-exclusion"},
    {"W14", "add-primary-key"},
    {"adding-serial-primary-key-field", "add-primary-key"},
    {"adding-field-with-default", "add-column-volatile-default"},
    {"E11", "add-column-serial"},
    {"adding-required-field", "add-column-not-null-no-default"},
    {"renaming-column", "rename-column"},
    {"renaming-table", "rename-table"},
    {"ban-drop-column", "drop-column"},
    {"ban-drop-table", "drop-table"},
    {"E15", "foreign-key-without-index"},
    {"W12", "several-alters-of-one-table"},
    {"E9", "missing-lock-timeout"},
    {"require-timeout-settings", "missing-lock-timeout"},
    {"require-timeout-settings", "missing-statement-timeout"},
    {"require-table-schema", "unqualified-table"},
}};

bool names_rule(const std::string& written, const std::string& rule) {
  if (written == rule || written == "all") return true;
  return std::any_of(aliases.begin(), aliases.end(),
                     [&](const auto& alias) { return written == alias.first && rule == alias.second; });
}

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// "a, b reason": names as long as commas follow them, then the reason.
Suppression parse_list(const std::string& text) {
  Suppression result;
  std::size_t at = 0;
  for (;;) {
    const std::size_t begin = text.find_first_not_of(" \t", at);
    if (begin == std::string::npos) return result;
    const std::size_t end = std::min(text.find_first_of(" \t,", begin), text.size());
    result.rules.push_back(text.substr(begin, end - begin));
    at = text.find_first_not_of(" \t", end);
    if (at == std::string::npos) return result;
    if (text[at] != ',') {
      result.reason = trimmed(text.substr(at));
      return result;
    }
    ++at;
  }
}

// In the comments between the statement before and the end of this one.
std::vector<Suppression> suppressions(const std::string& text) {
  std::vector<Suppression> found;
  constexpr std::array<std::pair<const char*, const char*>, 3> forms{
      {{"dbops: ignore ", ""}, {"squawk-ignore ", "squawk-ignore"}, {"eugene: ignore ", "eugene: ignore"}}};
  for (const auto& [marker, reason] : forms)
    for (std::size_t at = text.find(marker); at != std::string::npos; at = text.find(marker, at + 1)) {
      const std::size_t line = text.rfind('\n', at) == std::string::npos ? 0 : text.rfind('\n', at) + 1;
      if (text.substr(line, at - line).find("--") == std::string::npos) continue;
      const std::size_t begin = at + std::string(marker).size();
      Suppression suppression =
          parse_list(trimmed(text.substr(begin, std::min(text.find('\n', begin), text.size()) - begin)));
      if (suppression.reason.empty()) suppression.reason = reason;
      found.push_back(suppression);
    }
  return found;
}

// --- output
// ---------------------------------------------------------------------------------------------------------------

const char* to_text(Severity severity) {
  if (severity == Severity::error) return "error";
  return severity == Severity::warning ? "warning" : "notice";
}

class Output {
 public:
  explicit Output(FunctionCallInfo fcinfo) : fcinfo_(fcinfo) {}

  void put(int statement, migrate::LineColumn place, const Finding& finding) const {
    call_pg([this, statement, place, &finding] {
      auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo_->resultinfo);
      const auto text = [](const std::string& value) { return CStringGetTextDatum(value.c_str()); };
      Datum values[13] = {Int32GetDatum(statement),
                          Int32GetDatum(static_cast<int>(place.line)),
                          Int32GetDatum(static_cast<int>(place.column)),
                          CStringGetTextDatum(finding.rule),
                          CStringGetTextDatum(to_text(finding.severity)),
                          text(finding.message),
                          text(finding.object),
                          text(finding.lock),
                          BoolGetDatum(finding.rewrites),
                          BoolGetDatum(finding.scans),
                          Int64GetDatum(finding.bytes),
                          text(finding.safe_sql),
                          text(finding.suppressed)};
      bool nulls[13] = {};
      nulls[6] = finding.object.empty();
      nulls[7] = finding.lock.empty();
      nulls[10] = !(finding.rewrites || finding.scans) || finding.bytes == 0;
      nulls[11] = finding.safe_sql.empty();
      nulls[12] = finding.suppressed.empty();
      tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    });
  }

 private:
  FunctionCallInfo fcinfo_;
};

// --- the script
// -------------------------------------------------------------------------------------------------------------

Node* parse(const std::string& text) {
  return call_pg([&text]() -> Node* {
    List* statements = raw_parser(text.c_str(), RAW_PARSE_DEFAULT);
    return statements == NIL ? nullptr : linitial_node(RawStmt, statements)->stmt;
  });
}

migrate::LineColumn place_of_error(const SqlError& error, const std::string& sql, const migrate::Statement& statement) {
  const std::size_t offset =
      error.position > 0 && error.query.empty() ? static_cast<std::size_t>(error.position - 1) : 0;
  return migrate::line_column(sql, statement.position + std::min(offset, statement.text.size()));
}

class Linter {
 public:
  Linter(FunctionCallInfo fcinfo, const std::string& sql, Options options)
      : sql_(sql), output_(fcinfo), script_(std::move(options)) {}

  void run() {
    migrate::SplitError problem;
    const auto statements = migrate::split(sql_, standard_conforming_strings, problem);
    if (!statements) {
      Finding finding;
      finding.rule = "syntax-error";
      finding.severity = Severity::error;
      finding.message = to_string(problem.problem);
      output_.put(1, migrate::line_column(sql_, problem.position), finding);
      return;
    }
    std::size_t end = 0;
    MemoryContext memory =
        call_pg([] { return AllocSetContextCreate(CurrentMemoryContext, "dbops lint", ALLOCSET_DEFAULT_SIZES); });
    for (std::size_t i = 0; i < statements->size(); ++i) {
      const migrate::Statement& statement = (*statements)[i];
      MemoryContext previous = MemoryContextSwitchTo(memory);
      look_at(static_cast<int>(i + 1), statement, end);
      MemoryContextSwitchTo(previous);
      call_pg([memory] { MemoryContextReset(memory); });
      end = statement.position + statement.text.size();
    }
    call_pg([memory] { MemoryContextDelete(memory); });
    if (script_.needs_lock_timeout && !script_.lock_timeout_set && LockTimeout == 0)
      about_script("missing-lock-timeout",
                   "without lock_timeout, everybody queues behind a statement that waits; dbops migrate sets one",
                   "SET LOCAL lock_timeout = '2s';");
    if (script_.needs_statement_timeout && !script_.statement_timeout_set && StatementTimeout == 0)
      about_script("missing-statement-timeout",
                   "reads or rewrites a table under a lock; without statement_timeout that may take any time",
                   "SET LOCAL statement_timeout = '1min';");
    if (script_.explicit_transaction) {
      Finding finding;
      finding.rule = "uncommitted-transaction";
      finding.severity = Severity::warning;
      finding.message = "BEGIN without COMMIT";
      output_.put(static_cast<int>(statements->size()), migrate::line_column(sql_, end), finding);
    }
  }

 private:
  const std::string& sql_;
  Output output_;
  Script script_;

  void about_script(const char* rule, const char* message, const char* safe_sql) const {
    Finding finding;
    finding.rule = rule;
    finding.severity = Severity::notice;
    finding.message = message;
    finding.safe_sql = safe_sql;
    output_.put(1, {1, 1}, finding);
  }

  migrate::LineColumn at_;  // of the statement
  std::size_t counted_ = 0; // bytes of sql_ that at_ has seen

  // Like line_column, without beginning anew each time.
  migrate::LineColumn place(std::size_t position) {
    for (; counted_ < position; ++counted_) {
      const auto byte = static_cast<unsigned char>(sql_[counted_]);
      if (byte == '\n') {
        ++at_.line;
        at_.column = 1;
      } else if ((byte & 0xc0U) != 0x80U)
        ++at_.column;
    }
    return at_;
  }

  void look_at(int number, const migrate::Statement& statement, std::size_t before) {
    const migrate::LineColumn begin = place(statement.position);
    script_.next_statement(migrate::without_comments(statement.text, standard_conforming_strings));
    try {
      if (Node* node = parse(script_.text)) look_at_statement(script_, node);
    } catch (const SqlError& error) {
      if (error.sqlstate() != "42601") throw;
      Finding finding;
      finding.rule = "syntax-error";
      finding.severity = Severity::error;
      finding.message = error.message;
      output_.put(number, place_of_error(error, sql_, statement), finding);
      return;
    }
    if (script_.findings().empty()) return;
    const std::vector<Suppression> suppressed =
        suppressions(sql_.substr(before, statement.position + statement.text.size() - before));
    for (Finding finding : script_.findings()) {
      for (const Suppression& suppression : suppressed)
        for (const std::string& rule : suppression.rules)
          if (names_rule(rule, finding.rule)) {
            if (suppression.reason.empty())
              finding.message += " (an ignore comment needs a reason behind the rule)";
            else
              finding.suppressed = suppression.reason;
          }
      if ((finding.scans || finding.rewrites) && finding.severity != Severity::notice)
        script_.needs_statement_timeout = true;
      output_.put(number, begin, finding);
    }
  }
};

} // namespace

} // namespace dbops::server::lint

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_lint) {
  return boundary([fcinfo]() -> Datum {
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    SpiConnection spi;
    Arguments in(fcinfo);
    const std::string sql = in.string().value();
    lint::Options options;
    options.small_bytes = in.bigint().value();
    options.qualified = in.boolean();
    options.name_pattern = in.string().value();
    lint::Linter(fcinfo, sql, std::move(options)).run();
    spi.close();
    return static_cast<Datum>(0);
  });
}
