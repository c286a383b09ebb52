// dbops.adopt_migrations: takes over the history that another tool has written, under that tool's own lock. Its tables
// stay as they are.
#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "core/migrate/file_name.h"
#include "server/arguments.h"
#include "server/compat.h"
#include "server/migration/history.h"

extern "C" {
#include "catalog/pg_class_d.h"
#include "funcapi.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"
}

namespace dbops::server::migration {

namespace {

namespace migrate = core::migrate;

// A row as it is going to be in dbops.migration, and what is to be said about it.
struct Adopted {
  Value version, checksum, installed_on;
  std::string description, type, script, installed_by, imported_from, state, note;
  std::int64_t execution_time = 0;
  bool live = true;
};

struct Source {
  std::string table; // schema.table, quoted
  Oid oid = InvalidOid;
};

[[noreturn]] void refuse(const std::string& message, const std::string& hint = {}) {
  throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, hint);
}

[[noreturn]] void locked(const char* tool) {
  throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, std::string(tool) + " is at work", "Wait until it is done.");
}

// Java's String.hashCode() of a name, in UTF-16; here of ASCII, as other names are hashed the same only in ASCII.
std::int32_t java_hash(const std::string& text) {
  std::uint32_t hash = 0;
  for (const char c : text)
    hash = hash * 31 + static_cast<unsigned char>(c);
  return static_cast<std::int32_t>(hash);
}

// To the end of the transaction; not waited for, as the other tool may be at it for long.
bool try_advisory_lock(std::int64_t key) {
  return query("SELECT pg_catalog.pg_try_advisory_xact_lock(" + to_text(key) + ")").boolean(0, 0);
}

// Its owner may be anybody: reading a view would call his functions, and so would a policy, and the cast of a type of
// his.
void require_plain(Oid table) {
  if (call_pg([table] { return get_rel_relkind(table); }) != RELKIND_RELATION)
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, "the history is not a table");
  if (!ask_catalog("SELECT 1 FROM pg_catalog.pg_class WHERE oid = $1::oid AND relrowsecurity", {to_text(table)})
           .empty())
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, qualified_name(table) + " has row level security",
                   "What a policy hides would be missing: ALTER TABLE ... DISABLE ROW LEVEL SECURITY.");
  const Rows odd = ask_catalog("SELECT a.attname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = "
                               "a.atttypid WHERE a.attrelid = $1::oid AND a.attnum > 0 AND t.typnamespace <> "
                               "'pg_catalog'::regnamespace LIMIT 1",
                               {to_text(table)});
  if (!odd.empty())
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, "column " + quote_name(odd.text(0, 0)) + " of " + qualified_name(table) +
                                                  " is of a type that is not PostgreSQL's own");
}

// And nothing about it changes any more.
void lock_table(const Source& source, const char* mode, const char* tool) {
  try {
    in_savepoint([&] { return query("LOCK TABLE ONLY " + source.table + " IN " + mode + " MODE NOWAIT"); });
  } catch (const SqlError& error) {
    if (error.code == ERRCODE_LOCK_NOT_AVAILABLE) locked(tool);
    throw;
  }
  // It may have been changed until now, or another one have its name.
  if (static_cast<Oid>(
          ask_catalog("SELECT coalesce(pg_catalog.to_regclass($1)::oid, 0)", {source.table}).integer(0, 0)) !=
      source.oid)
    throw SqlError(ERRCODE_OBJECT_IN_USE, source.table + " was changed meanwhile");
  require_plain(source.oid);
}

// --- Flyway
// -----------------------------------------------------------------------------------------------------------

struct File {
  std::int64_t checksum = 0;
  std::optional<std::int64_t> raw;
};

std::map<std::string, File> read_files(const std::string& text) {
  const nlohmann::json files = nlohmann::json::parse(text);
  std::map<std::string, File> read;
  if (!files.is_array()) throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "files must be an array");
  for (const nlohmann::json& file : files) {
    if (!file.is_object() || !file.contains("script") || !file["script"].is_string() || !file.contains("checksum") ||
        !file["checksum"].is_number_integer())
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "each of files must have script and checksum",
                     R"([{"script": "V1__x.sql", "checksum": 123, "raw_checksum": 456}])");
    File one{file["checksum"].get<std::int64_t>(), std::nullopt};
    if (file.contains("raw_checksum") && file["raw_checksum"].is_number_integer()) one.raw = file["raw_checksum"];
    read.emplace(file["script"].get<std::string>(), one);
  }
  return read;
}

// What can be verified: that the file is there, and is the one that was applied.
void compare(Adopted& row, const std::map<std::string, File>& files) {
  if (row.type != "SQL" && row.type != "SQL_BASELINE" && !row.type.starts_with("UNDO_")) {
    row.state = "adopted";
    if (row.type != "BASELINE" && row.type != "SCHEMA" && row.type != "DELETE")
      row.note = "type " + row.type + " is not a SQL file: it cannot be compared, nor applied again";
    return;
  }
  const auto file = files.find(row.script);
  if (file == files.end()) {
    row.state = "no file";
    row.note = "there is no such file: not compared";
  } else if (!row.checksum) {
    row.state = "adopted";
    row.note = "has no checksum: not compared";
  } else if (*row.checksum == to_text(file->second.checksum))
    row.state = "verified";
  else if (file->second.raw && *row.checksum == to_text(*file->second.raw)) {
    row.state = "verified";
    row.note = "checksum " + *row.checksum + " is one of Flyway 3 or older; recorded as Flyway computes it today";
    row.checksum = to_text(file->second.checksum);
  } else {
    row.state = "differs";
    row.note = "the file has another checksum (" + to_text(file->second.checksum) + ") than was applied (" +
               *row.checksum + ")";
  }
}

std::vector<Adopted> read_flyway(const Source& source, const std::map<std::string, File>& files) {
  const Rows names =
      ask_catalog("SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
                  "n.oid = c.relnamespace WHERE c.oid = $1::oid",
                  {to_text(source.oid)});
  // PostgreSQLAdvisoryLockTemplate: a number of its own plus the hash of the quoted name of the history's table.
  const std::int64_t key = 77431708279161 + java_hash("\"" + names.text(0, 0) + "\".\"" + names.text(0, 1) + "\"");
  if (!try_advisory_lock(key)) locked("Flyway");
  lock_table(source, "SHARE ROW EXCLUSIVE", "Flyway");
  const Rows found =
      query("SELECT version, description, type, script, checksum, installed_by, installed_on::timestamptz, "
            "execution_time, success FROM ONLY " +
            source.table + " ORDER BY installed_rank");
  std::vector<Adopted> rows;
  for (std::size_t i = 0; i < found.size(); ++i) {
    Adopted row;
    if (!found.is_null(i, 0)) row.version = found.text(i, 0);
    row.description = found.text(i, 1);
    row.type = found.text(i, 2) == "UNDO_SCRIPT" ? "UNDO_SQL" : found.text(i, 2);
    row.script = found.text(i, 3);
    if (!found.is_null(i, 4)) row.checksum = found.text(i, 4);
    row.installed_by = found.text(i, 5);
    row.installed_on = found.text(i, 6);
    row.execution_time = found.integer(i, 7);
    if (!found.boolean(i, 8))
      refuse("migration " + row.script + " has failed",
             "Run flyway repair, or apply it, before its history is adopted.");
    if (row.version && !migrate::Version::parse(*row.version))
      refuse("\"" + *row.version + "\" of " + row.script + " is not a version");
    row.imported_from = "flyway";
    compare(row, files);
    const bool ends = row.type.starts_with("UNDO_") || row.type == "DELETE";
    for (Adopted& before : rows) {
      const bool same = row.version ? before.version && *migrate::Version::parse(*before.version) ==
                                                            *migrate::Version::parse(*row.version)
                                    : !before.version && before.description == row.description && row.type != "SCHEMA";
      if (same && (ends || !row.version) && before.type != "SCHEMA" && before.type != "BASELINE") before.live = false;
    }
    row.live = !ends;
    rows.push_back(std::move(row));
  }
  return rows;
}

// --- Liquibase, Alembic, sqitch
// ----------------------------------------------------------------------------------------- What they have applied is
// kept as a record; versions are for files that come after it.

struct Changeset {
  std::string script, text;
  bool certain = false;
};
using Changesets = std::multimap<std::string, Changeset>; // by id::author

Changesets read_changesets(const std::string& text) {
  const nlohmann::json files = nlohmann::json::parse(text);
  Changesets read;
  if (!files.is_array()) throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "files must be an array");
  const auto is_text = [](const nlohmann::json& file, const char* name) {
    return file.contains(name) && file[name].is_string();
  };
  for (const nlohmann::json& file : files)
    if (file.is_object() && is_text(file, "changeset") && is_text(file, "script") && is_text(file, "text"))
      read.emplace(file["changeset"].get<std::string>(),
                   Changeset{file["script"], file["text"], file.value("certain", false)});
  return read;
}

// Liquibase and the caller may look at the file from different directories.
bool same_file(const std::string& left, const std::string& right) {
  return left == right || left.ends_with("/" + right) || right.ends_with("/" + left);
}

// See core/migrate/liquibase.h. Checksums of older versions are of something else.
void compare(Adopted& row, const std::string& checksum, const Changesets& changesets) {
  if (!checksum.starts_with("9:")) return;
  const auto [first, last] = changesets.equal_range(row.description);
  for (auto it = first; it != last; ++it) {
    const Changeset& changeset = it->second;
    if (!same_file(row.script, changeset.script)) continue;
    const std::string now =
        "9:" +
        ask_catalog("SELECT pg_catalog.md5(pg_catalog.convert_to('9:' || pg_catalog.md5(pg_catalog.convert_to($1, "
                    "'UTF8')) || ':', 'UTF8'))",
                    {changeset.text})
            .text(0, 0);
    if (now == checksum) {
      row.state = "verified";
      row.note.clear();
      return;
    }
    row.state = changeset.certain ? "differs" : "adopted";
    row.note = changeset.certain ? "the changeset has the checksum " + now + ", applied was " + checksum
                                 : "it has comments, and another checksum: not compared";
  }
}

std::vector<Adopted> read_liquibase(const Source& source, const Changesets& changesets) {
  Source lock;
  lock.table =
      ask_catalog("SELECT pg_catalog.format('%I.%I', n.nspname, c.relname || 'lock') FROM pg_catalog.pg_class c "
                  "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
                  {to_text(source.oid)})
          .text(0, 0);
  // Liquibase sets a flag and commits; whoever wants to set it waits for this row.
  lock.oid =
      static_cast<Oid>(ask_catalog("SELECT coalesce(pg_catalog.to_regclass($1)::oid, 0)", {lock.table}).integer(0, 0));
  if (OidIsValid(lock.oid)) {
    require_plain(lock.oid);
    lock_table(lock, "ROW SHARE", "Liquibase");
    Rows flag;
    try {
      flag =
          in_savepoint([&] { return query("SELECT locked, lockedby FROM ONLY " + lock.table + " FOR UPDATE NOWAIT"); });
    } catch (const SqlError& error) {
      if (error.code == ERRCODE_LOCK_NOT_AVAILABLE) locked("Liquibase");
      throw;
    }
    if (!flag.empty() && flag.boolean(0, 0))
      throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, "Liquibase holds its lock: " + flag.text(0, 1),
                     "Wait until it is done, or run liquibase releaseLocks when nobody is at work.");
  }
  lock_table(source, "SHARE ROW EXCLUSIVE", "Liquibase");
  const Rows found =
      query("SELECT id, author, filename, exectype, md5sum, dateexecuted::timestamptz, tag, liquibase FROM ONLY " +
            source.table + " ORDER BY orderexecuted, dateexecuted");
  std::vector<Adopted> rows;
  for (std::size_t i = 0; i < found.size(); ++i) {
    Adopted row;
    row.description = found.text(i, 0) + "::" + found.text(i, 1);
    row.type = "LIQUIBASE";
    row.script = found.text(i, 2);
    row.installed_on = found.text(i, 5);
    row.imported_from = "liquibase " + found.text(i, 7) + (found.is_null(i, 4) ? "" : " " + found.text(i, 4)) +
                        (found.is_null(i, 6) ? "" : " tag " + found.text(i, 6));
    const std::string executed = found.text(i, 3);
    if (executed == "FAILED")
      refuse("changeset " + row.description + " has failed", "Apply it before its history is adopted.");
    row.state = executed == "SKIPPED" ? "skipped" : "adopted";
    row.live = executed != "SKIPPED";
    row.note = executed == "MARK_RAN" ? "marked as run, never executed" : "its checksum is kept, not compared";
    if ((executed == "EXECUTED" || executed == "RERAN") && !found.is_null(i, 4))
      compare(row, found.text(i, 4), changesets);
    rows.push_back(std::move(row));
  }
  return rows;
}

// It knows no more than where it stands.
std::vector<Adopted> read_alembic(const Source& source) {
  lock_table(source, "EXCLUSIVE", "Alembic");
  const Rows found = query("SELECT version_num FROM ONLY " + source.table + " ORDER BY 1");
  std::vector<Adopted> rows;
  for (std::size_t i = 0; i < found.size(); ++i) {
    Adopted row;
    row.description = found.text(i, 0);
    row.type = "ALEMBIC";
    row.script = found.text(i, 0);
    row.imported_from = "alembic";
    row.state = "adopted";
    row.note = "a head; Alembic keeps no record of what came before it";
    rows.push_back(std::move(row));
  }
  return rows;
}

// SHA-1 by the path of the script.
using Scripts = std::map<std::string, std::string>;

Scripts read_scripts(const std::string& text) {
  const nlohmann::json files = nlohmann::json::parse(text);
  Scripts read;
  if (!files.is_array()) throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "files must be an array");
  for (const nlohmann::json& file : files)
    if (file.is_object() && file.contains("script") && file["script"].is_string() && file.contains("sha1") &&
        file["sha1"].is_string())
      read.emplace(file["script"].get<std::string>(), file["sha1"].get<std::string>());
  return read;
}

// A change that was reworked has its older scripts under change@tag.
void compare(Adopted& row, const std::string& change, const std::string& hash, const Scripts& scripts) {
  bool found = false;
  for (auto script = scripts.lower_bound("deploy/" + change); script != scripts.end(); ++script) {
    const std::string rest = script->first.substr(std::min(script->first.size(), change.size() + 7));
    if (!script->first.starts_with("deploy/" + change)) break;
    if (rest != ".sql" && !(rest.starts_with("@") && rest.ends_with(".sql"))) continue;
    found = true;
    if (script->second != hash) continue;
    row.script = script->first;
    row.state = "verified";
    return;
  }
  row.state = found ? "differs" : "no file";
  row.note =
      found ? "the script is another one than was deployed (" + hash + ")" : "there is no such file: not compared";
}

std::vector<Adopted> read_sqitch(const Source& source, const Scripts& scripts) {
  if (!try_advisory_lock(75474063)) locked("sqitch");
  lock_table(source, "EXCLUSIVE", "sqitch");
  const Rows found =
      query("SELECT project, change, note, change_id, script_hash, committed_at, committer_name FROM ONLY " +
            source.table + " ORDER BY committed_at");
  std::vector<Adopted> rows;
  for (std::size_t i = 0; i < found.size(); ++i) {
    Adopted row;
    row.description = found.text(i, 0) + ":" + found.text(i, 1);
    row.type = "SQITCH";
    row.script = "deploy/" + found.text(i, 1) + ".sql";
    row.installed_by = found.text(i, 6);
    row.installed_on = found.text(i, 5);
    row.imported_from = "sqitch " + found.text(i, 3) + (found.is_null(i, 4) ? "" : " script " + found.text(i, 4));
    row.state = "adopted";
    row.note = found.text(i, 2);
    if (!scripts.empty() && !found.is_null(i, 4)) compare(row, found.text(i, 1), found.text(i, 4), scripts);
    rows.push_back(std::move(row));
  }
  return rows;
}

// --- the function
// -------------------------------------------------------------------------------------------------------

struct Tool {
  const char* name;
  const char* table; // where it usually is
};
constexpr std::array<Tool, 4> tools{{{"flyway", "flyway_schema_history"},
                                     {"liquibase", "databasechangelog"},
                                     {"alembic", "alembic_version"},
                                     {"sqitch", "sqitch.changes"}}};

// Named by the caller, or in the search_path under the tool's own name; one of them alone.
Source find_source(std::optional<std::string>& tool, Oid given) {
  Source source;
  source.oid = given;
  for (const Tool& one : tools) {
    if (tool && *tool != one.name) continue;
    if (OidIsValid(source.oid)) break;
    const Rows found = query("SELECT coalesce(pg_catalog.to_regclass(" + quote_text(one.table) + ")::oid, 0)");
    source.oid = static_cast<Oid>(found.integer(0, 0));
    if (!OidIsValid(source.oid)) continue;
    tool = one.name;
    break;
  }
  if (!OidIsValid(source.oid))
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "no history of " + tool.value_or("another tool") + " was found",
                   "Name its table: history_table => 'schema.flyway_schema_history'.");
  require_plain(source.oid);
  source.table = qualified_name(source.oid);
  return source;
}

void record(const Project& project, int rank, const Adopted& row) {
  bookkeep(
      "INSERT INTO dbops.migration (project_id, installed_rank, version, version_order, description, type, script,"
      "  checksum, installed_by, installed_on, execution_time, success, live, imported_from, session_role, "
      "application, client, server_pid)"
      " SELECT $1::integer, $2::integer, $3, $4::numeric[], left($5, 1000), $6, $7, $8::integer, coalesce(nullif($9, "
      "''), 'unknown'), coalesce($10::timestamptz, clock_timestamp()), $11::integer, true, $12::boolean, $13, "
      "session_user, current_setting('application_name'), host(inet_client_addr()), pg_backend_pid()",
      {to_text(project.id), to_text(rank), row.version,
       row.version ? Value(migrate::Version::parse(*row.version)->order()) : std::nullopt, row.description, row.type,
       row.script, row.checksum, row.installed_by, row.installed_on, to_text(row.execution_time),
       row.live ? "true" : "false", row.imported_from});
}

void put_row(FunctionCallInfo fcinfo, const Adopted& row) {
  call_pg([fcinfo, &row] {
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    const auto text = [](const std::string& value) { return CStringGetTextDatum(value.c_str()); };
    Datum values[5] = {text(row.script), row.version ? text(*row.version) : static_cast<Datum>(0),
                       text(row.description), text(row.state), text(row.note)};
    bool nulls[5] = {false, !row.version, false, false, row.note.empty()};
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  });
}

void adopt(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  std::optional<std::string> tool = in.string();
  const auto name = in.string();
  const auto files = in.jsonb();
  const int table_argument = 3;
  const Oid table = PG_ARGISNULL(table_argument) ? InvalidOid : PG_GETARG_OID(table_argument);
  if (!name || !files) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "project and files must not be null");
  if (tool && std::none_of(tools.begin(), tools.end(), [&](const Tool& one) { return *tool == one.name; }))
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "tool \"" + *tool + "\" is not known",
                   "flyway, liquibase, alembic or sqitch.");
  if (!tool && OidIsValid(table))
    throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "tool must be given together with history_table");
  const Source source = find_source(tool, table);
  const Project project = open_project(*name, true);
  if (!lock_project(project))
    throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, "another session is migrating project \"" + project.name + "\"",
                   "Wait until it is done.", project_lock_holder(project));
  if (!bookkeep("SELECT 1 FROM dbops.migration WHERE project_id = $1::integer LIMIT 1", {to_text(project.id)}).empty())
    refuse("project \"" + *name + "\" has migrations already", "Adopt into a project of its own: project => '...'.");
  const std::vector<Adopted> rows = *tool == "flyway"      ? read_flyway(source, read_files(*files))
                                    : *tool == "liquibase" ? read_liquibase(source, read_changesets(*files))
                                    : *tool == "alembic"   ? read_alembic(source)
                                                           : read_sqitch(source, read_scripts(*files));
  int rank = 0;
  for (const Adopted& row : rows) {
    record(project, ++rank, row);
    put_row(fcinfo, row);
  }
}

} // namespace

} // namespace dbops::server::migration

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_adopt_migrations) {
  return boundary([fcinfo]() -> Datum {
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    SpiConnection spi;
    migration::adopt(fcinfo);
    spi.close();
    return static_cast<Datum>(0);
  });
}
