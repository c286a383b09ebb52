#include "server/migration/history.h"

#include "core/migrate/checksum.h"

extern "C" {
#include "funcapi.h"
#include "storage/lock.h"
#include "utils/acl.h"
}

namespace dbops::server::migration {

namespace {

// pg_advisory_lock() uses 1 and 2 in this place, so no user can take one of these.
constexpr std::uint16_t project_lock_class = 0xDD;

LOCKTAG project_tag(const Project& project) {
  LOCKTAG tag;
  SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, static_cast<std::uint32_t>(project.id), 0, project_lock_class);
  return tag;
}

// Of a project that is being made: two whose names have the same checksum are not made at the same time.
LOCKTAG maker_tag(const std::string& name) {
  core::migrate::Crc32 crc;
  crc.add(name);
  LOCKTAG tag;
  SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, static_cast<std::uint32_t>(crc.value()), 1, project_lock_class);
  return tag;
}

// To the end of the transaction; does not wait.
bool take(const LOCKTAG& tag) {
  return call_pg([&tag] { return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL; });
}

std::string holder_of(const LOCKTAG& tag) {
  const Rows found = bookkeep(
      "SELECT 'process ' || l.pid || coalesce(' (role ' || a.usename || ', application ' || "
      "quote_literal(a.application_name) || ', since '"
      " || to_char(a.xact_start, 'HH24:MI:SS') || ')', '') FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)"
      " WHERE l.locktype = 'advisory' AND l.objsubid = 221 AND l.granted AND l.pid <> pg_backend_pid()"
      "  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.classid = $1::oid"
      "  AND l.objid = $2::oid",
      {to_text(static_cast<Oid>(tag.locktag_field2)), to_text(static_cast<Oid>(tag.locktag_field3))});
  return found.empty() ? std::string() : found.text(0, 0);
}

Rows find_project(const std::string& name) {
  return bookkeep("SELECT project_id, owner_oid FROM dbops.migration_project WHERE name = $1", {name});
}

bool is_member(Oid owner) {
  return call_pg([owner] {
    const Oid admin = get_role_oid("dbops_admin", true);
    return is_member_of_role(GetUserId(), owner) || (OidIsValid(admin) && is_member_of_role(GetUserId(), admin));
  });
}

// Who can change nothing in this database has no use for a history, and shall not take the name of another's.
bool may_open() {
  const bool admin = call_pg([] {
    const Oid role = get_role_oid("dbops_admin", true);
    return OidIsValid(role) && is_member_of_role(GetUserId(), role);
  });
  return admin ||
         bookkeep("SELECT has_database_privilege($1::oid, current_database(), 'CREATE') OR EXISTS ("
                  "SELECT FROM pg_namespace n WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', "
                  "'dbops') AND (has_schema_privilege($1::oid, n.oid, 'CREATE') OR pg_has_role($1::oid, n.nspowner, "
                  "'MEMBER') OR EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND pg_has_role($1::oid, "
                  "c.relowner, 'MEMBER'))))",
                  {to_text(GetUserId())})
             .boolean(0, 0);
}

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, hint);
}

Value version_text(const Identity& migration) {
  return migration.version ? Value(migration.version->text()) : std::nullopt;
}
Value version_order(const Identity& migration) {
  return migration.version ? Value(migration.version->order()) : std::nullopt;
}

// A versioned one among those that are applied.
Standing versioned_standing(const Project& project, const Identity& migration, bool out_of_order) {
  const Rows found = bookkeep("SELECT m.checksum, m.success, m.installed_rank,"
                              "  (SELECT h.version FROM dbops.migration h WHERE h.project_id = $1::integer AND h.live "
                              "AND h.version_order IS NOT NULL"
                              "   ORDER BY h.version_order DESC LIMIT 1),"
                              "  (SELECT h.version_order > $2::numeric[] FROM dbops.migration h WHERE h.project_id = "
                              "$1::integer AND h.live AND h.version_order IS NOT NULL"
                              "   ORDER BY h.version_order DESC LIMIT 1),"
                              "  (SELECT h.version FROM dbops.migration h WHERE h.project_id = $1::integer AND h.live "
                              "AND h.type LIKE '%BASELINE'"
                              "   AND h.version_order >= $2::numeric[] LIMIT 1)"
                              " FROM (SELECT) one LEFT JOIN dbops.migration m ON m.project_id = $1::integer AND m.live "
                              "AND m.version_order = $2::numeric[]"
                              "  AND m.type NOT LIKE '%BASELINE'",
                              {to_text(project.id), version_order(migration)});
  const std::string version = migration.version->text();
  if (!found.is_null(0, 2)) {
    if (!found.boolean(0, 1)) return Standing::partial;
    if (!found.is_null(0, 0) && found.integer(0, 0) != migration.checksum)
      refuse("version " + version + " is applied already, with the checksum " + found.text(0, 0) + ", and " +
                 migration.script + " has " + to_text(migration.checksum),
             "Put the file back as it was and make a new version; or dbops repair, if the change is known to be "
             "harmless.");
    return Standing::applied;
  }
  if (!found.is_null(0, 5))
    refuse("version " + version + " is not above the baseline " + found.text(0, 5),
           "What the baseline stands for is there already.");
  if (!out_of_order && found.boolean(0, 4))
    refuse("version " + version + " is below " + found.text(0, 3) + ", which is applied",
           "Give it a higher version, or allow out-of-order migrations.");
  return Standing::absent;
}

Standing repeatable_standing(const Project& project, const Identity& migration) {
  const Rows found = bookkeep(
      "SELECT checksum, success FROM dbops.migration WHERE project_id = $1::integer AND live AND version IS NULL"
      " AND type = 'SQL' AND description = $2 ORDER BY installed_rank DESC LIMIT 1",
      {to_text(project.id), migration.description});
  if (found.empty()) return Standing::absent;
  if (!found.boolean(0, 1)) return Standing::partial;
  return !found.is_null(0, 0) && found.integer(0, 0) == migration.checksum ? Standing::applied : Standing::absent;
}

Standing undo_standing(const Project& project, const Identity& migration) {
  const Rows found = bookkeep(
      "SELECT success FROM dbops.migration WHERE project_id = $1::integer AND live AND version_order = $2::numeric[]"
      " ORDER BY installed_rank DESC LIMIT 1",
      {to_text(project.id), version_order(migration)});
  if (found.empty()) return Standing::applied;
  if (!found.boolean(0, 0))
    refuse("version " + migration.version->text() + " is applied in part",
           "Let dbops migrate finish it, or take the rest back by hand and dbops repair.");
  return Standing::absent;
}

Standing baseline_standing(const Project& project, const Identity& migration) {
  const Rows found = bookkeep("SELECT version, type, success FROM dbops.migration WHERE project_id = $1::integer AND "
                              "live AND type <> 'SCHEMA' LIMIT 1",
                              {to_text(project.id)});
  if (found.empty()) return Standing::absent;
  if (found.text(0, 1) == "SQL_BASELINE" && found.text(0, 0) == migration.version->text())
    return found.boolean(0, 2) ? Standing::applied : Standing::partial;
  refuse("the baseline " + migration.script + " can only be the first migration",
         "This history has migrations already.");
}

void check_project_name(const std::string& name) {
  if (name.empty() || name.size() > 63)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "project must be a name of 1 to 63 bytes");
}

Project checked(const Rows& found, const std::string& name) {
  if (!is_member(static_cast<Oid>(found.integer(0, 1))))
    throw SqlError(
        ERRCODE_INSUFFICIENT_PRIVILEGE, "migration project \"" + name + "\" belongs to another role",
        "Be a member of its role, or use a project of your own. A superuser or member of dbops_admin can give it "
        "to another role, with dbops.set_migration_owner.");
  return {static_cast<int>(found.integer(0, 0)), name};
}

} // namespace

std::optional<Project> make_project(const std::string& name) {
  check_project_name(name);
  Rows found = find_project(name);
  if (found.empty()) {
    if (!may_open())
      throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                     "role \"" + role_name(GetUserId()) + "\" may not open the migration project \"" + name + "\"",
                     "It takes CREATE on the database or on a schema, something that the role owns, or membership in "
                     "dbops_admin. Or let a role that has that give it one, with dbops.set_migration_owner.");
    if (!take(maker_tag(name))) return std::nullopt;
    bookkeep("INSERT INTO dbops.migration_project (name, owner_oid, owner_name) VALUES ($1, $2::oid, $3) ON CONFLICT "
             "DO NOTHING",
             {name, to_text(GetUserId()), role_name(GetUserId())});
    found = find_project(name);
    if (found.empty()) return std::nullopt;
  }
  return checked(found, name);
}

Project open_project(const std::string& name, bool make) {
  if (make) {
    const std::optional<Project> made = make_project(name);
    if (!made)
      throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, "migration project \"" + name + "\" is being made by another session",
                     "Try again.", project_maker(name));
    return *made;
  }
  check_project_name(name);
  const Rows found = find_project(name);
  if (found.empty())
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "there is no migration project \"" + name + "\"",
                   "The first migration makes it. See dbops.migration_projects.");
  return checked(found, name);
}

bool lock_project(const Project& project) {
  return take(project_tag(project));
}

std::string project_lock_holder(const Project& project) {
  return holder_of(project_tag(project));
}

std::string project_maker(const std::string& name) {
  return holder_of(maker_tag(name));
}

Standing standing(const Project& project, const Identity& migration, bool out_of_order) {
  if (migration.type == "CALLBACK") return Standing::absent;
  if (migration.type == "UNDO_SQL") return undo_standing(project, migration);
  if (migration.type == "SQL_BASELINE") return baseline_standing(project, migration);
  return migration.version ? versioned_standing(project, migration, out_of_order)
                           : repeatable_standing(project, migration);
}

int record_applied(const Project& project, const Identity& migration, const Attempt& attempt) {
  if (migration.type == "UNDO_SQL")
    bookkeep("UPDATE dbops.migration SET live = false WHERE project_id = $1::integer AND live AND version_order = "
             "$2::numeric[]",
             {to_text(project.id), version_order(migration)});
  else if (!migration.version)
    bookkeep("UPDATE dbops.migration SET live = false WHERE project_id = $1::integer AND live AND version IS NULL AND "
             "type = 'SQL' AND description = $2",
             {to_text(project.id), migration.description});
  const Rows inserted = bookkeep(
      "INSERT INTO dbops.migration (project_id, installed_rank, version, version_order, description, type, script, "
      "checksum, installed_by,"
      "  execution_time, success, live, statements, messages, session_role, application, client, server_pid)"
      " SELECT $1::integer, (SELECT coalesce(max(installed_rank), 0) + 1 FROM dbops.migration WHERE project_id = "
      "$1::integer),"
      "  $2, $3::numeric[], $4, $5, $6, $7::integer, $8, $9::integer, $10::boolean, $5 <> 'UNDO_SQL', $11::integer, "
      "$12::text[], session_user,"
      "  current_setting('application_name'), host(inet_client_addr()), pg_backend_pid() RETURNING installed_rank",
      {to_text(project.id), version_text(migration), version_order(migration), migration.description, migration.type,
       migration.script, to_text(migration.checksum), attempt.role, to_text(attempt.milliseconds),
       attempt.outcome == "applied" ? "true" : "false", to_text(attempt.statements), text_array(attempt.messages)});
  return static_cast<int>(inserted.integer(0, 0));
}

void record_attempt(const Project& project, const Identity& migration, const Attempt& attempt) {
  const auto of_error = [&attempt](auto member) {
    return attempt.error && !((*attempt.error).*member).empty() ? Value((*attempt.error).*member) : std::nullopt;
  };
  bookkeep("INSERT INTO dbops.migration_attempt (project_id, version, description, type, script, checksum, role, "
           "execution_time, outcome,"
           "  sqlstate, error, detail, hint, line, \"column\", statement, messages, session_role, application, client, "
           "server_pid)"
           " SELECT $1::integer, $2, $3, $4, $5, $6::integer, $7, $8::integer, $9, $10, $11, $12, $13, "
           "nullif($14::integer, 0), nullif($15::integer, 0),"
           "  left(nullif($16, ''), 2000), $17::text[], session_user, current_setting('application_name'), "
           "host(inet_client_addr()), pg_backend_pid()",
           {to_text(project.id), version_text(migration), migration.description, migration.type, migration.script,
            to_text(migration.checksum), attempt.role, to_text(attempt.milliseconds), attempt.outcome,
            attempt.error ? Value(attempt.error->sqlstate()) : std::nullopt, of_error(&SqlError::message),
            of_error(&SqlError::detail), of_error(&SqlError::hint), to_text(attempt.line), to_text(attempt.column),
            attempt.statement, text_array(attempt.messages)});
}

std::string text_array(const std::vector<std::string>& texts) {
  std::string array = "{";
  for (const std::string& text : texts) {
    array += array.size() > 1 ? ",\"" : "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  return array + "}";
}

Datum result_row(FunctionCallInfo fcinfo, const std::vector<Value>& values) {
  return call_pg([fcinfo, &values] {
    TupleDesc columns = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &columns) != TYPEFUNC_COMPOSITE)
      elog(ERROR, "return type must be a row type");
    if (columns->natts != static_cast<int>(values.size()))
      elog(ERROR, "dbops: the library and the SQL objects are of different versions");
    auto** texts = static_cast<char**>(palloc(sizeof(char*) * values.size()));
    for (std::size_t i = 0; i < values.size(); ++i)
      texts[i] = values[i] ? pstrdup(values[i]->c_str()) : nullptr;
    return HeapTupleGetDatum(BuildTupleFromCStrings(TupleDescGetAttInMetadata(BlessTupleDesc(columns)), texts));
  });
}

} // namespace dbops::server::migration
