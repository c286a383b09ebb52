// dbops.baseline_migrations, dbops.repair_migration, dbops.validate_migrations.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "server/arguments.h"
#include "server/migration/history.h"
#include "server/migration/steps.h"

extern "C" {
#include "funcapi.h"
#include "utils/acl.h"
#include "utils/tuplestore.h"
}

namespace dbops::server::migration {

namespace {

namespace migrate = core::migrate;

void lock_or_raise(const Project& project) {
  if (lock_project(project)) return;
  throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, "another session is migrating project \"" + project.name + "\"",
                 "Wait until it is done.", project_lock_holder(project));
}

migrate::Version version_argument(const std::string& text) {
  const auto version = migrate::Version::parse(text);
  if (!version)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "\"" + text + "\" is not a version",
                   "Digits, with dots between them: 1.2.");
  return *version;
}

int baseline(const std::string& version_text, const std::string& description, const std::string& project_name) {
  const migrate::Version version = version_argument(version_text);
  const Project project = open_project(project_name, true);
  lock_or_raise(project);
  const Rows found =
      bookkeep("SELECT installed_rank, type, version_order = $2::numeric[] AND description = $3 FROM dbops.migration"
               " WHERE project_id = $1::integer AND type <> 'SCHEMA' ORDER BY installed_rank LIMIT 2",
               {to_text(project.id), version.order(), description});
  if (!found.empty()) {
    if (found.text(0, 1) == "BASELINE" && found.boolean(0, 2)) return static_cast<int>(found.integer(0, 0));
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "project \"" + project_name + "\" has migrations already, or another baseline",
                   "A baseline is the first entry of a history. See dbops.migration_history.");
  }
  Attempt attempt;
  attempt.outcome = "applied";
  attempt.role = role_name(GetUserId());
  Identity identity{description, "BASELINE", version, description, 0};
  const int rank = record_applied(project, identity, attempt);
  bookkeep("UPDATE dbops.migration SET checksum = NULL WHERE project_id = $1::integer AND installed_rank = $2::integer",
           {to_text(project.id), to_text(rank)});
  return rank;
}

[[noreturn]] void unfit(int rank, const std::string& why) {
  throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "migration with rank " + to_text(rank) + " " + why,
                 "See dbops.migration_history.");
}

std::string remove_failed(const Project& project, int rank, bool success) {
  if (success) unfit(rank, "has not failed");
  bookkeep("DELETE FROM dbops.migration WHERE project_id = $1::integer AND installed_rank = $2::integer",
           {to_text(project.id), to_text(rank)});
  return "removed";
}

std::string mark_deleted(const Project& project, int rank, bool success, bool live) {
  if (!success || !live) unfit(rank, "is not applied");
  bookkeep("INSERT INTO dbops.migration (project_id, installed_rank, version, version_order, description, type, "
           "script, checksum, installed_by,"
           "  execution_time, success, live, session_role, application, client, server_pid)"
           " SELECT project_id, (SELECT max(installed_rank) + 1 FROM dbops.migration WHERE project_id = $1::integer), "
           "version, version_order,"
           "  description, 'DELETE', script, checksum, $3, 0, true, false, session_user, "
           "current_setting('application_name'), host(inet_client_addr()),"
           "  pg_backend_pid() FROM dbops.migration WHERE project_id = $1::integer AND installed_rank = $2::integer",
           {to_text(project.id), to_text(rank), role_name(GetUserId())});
  bookkeep("UPDATE dbops.migration SET live = false WHERE project_id = $1::integer AND installed_rank = $2::integer",
           {to_text(project.id), to_text(rank)});
  return "marked as deleted";
}

std::string align(const Project& project, int rank, const std::optional<int>& checksum,
                  const std::optional<std::string>& description) {
  bookkeep(
      "UPDATE dbops.migration SET checksum = coalesce($3::integer, checksum), description = coalesce($4, description)"
      " WHERE project_id = $1::integer AND installed_rank = $2::integer",
      {to_text(project.id), to_text(rank), checksum ? Value(to_text(*checksum)) : std::nullopt, description});
  return "aligned";
}

bool may_give_to(Oid owner) {
  return call_pg([owner] {
    const Oid admin = get_role_oid("dbops_admin", true);
    return is_member_of_role(GetUserId(), owner) || (OidIsValid(admin) && is_member_of_role(GetUserId(), admin));
  });
}

void set_owner(const std::string& project_name, Oid owner) {
  const Project project = open_project(project_name, false);
  lock_or_raise(project);
  if (!may_give_to(owner))
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "must be a member of role \"" + role_name(owner) + "\"",
                   "Or a member of dbops_admin.");
  bookkeep("UPDATE dbops.migration_project SET owner_oid = $2::oid, owner_name = $3 WHERE project_id = $1::integer",
           {to_text(project.id), to_text(owner), role_name(owner)});
}

std::string repair(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  const auto rank = in.integer();
  const auto action = in.string();
  const auto name = in.string();
  const auto checksum = in.integer();
  const auto description = in.string();
  if (!rank || !action || !name)
    throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "installed_rank, action and project must not be null");
  const Project project = open_project(*name, false);
  lock_or_raise(project);
  const Rows found = bookkeep(
      "SELECT success, live FROM dbops.migration WHERE project_id = $1::integer AND installed_rank = $2::integer",
      {to_text(project.id), to_text(*rank)});
  if (found.empty())
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "project \"" + *name + "\" has no migration with rank " + to_text(*rank),
                   "See dbops.migration_history.");
  // Statements outside of transactions hold no lock of the project.
  if (is_under_way(project, *rank))
    throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE,
                   "a statement of the migration with rank " + to_text(*rank) + " is being executed",
                   "Wait until it is done, or end its session; dbops.migration_steps shows it.");
  if (*action == "remove_failed") return remove_failed(project, *rank, found.boolean(0, 0));
  if (*action == "mark_deleted") return mark_deleted(project, *rank, found.boolean(0, 0), found.boolean(0, 1));
  if (*action == "align") return align(project, *rank, checksum, description);
  throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "action \"" + *action + "\" is not known",
                 "remove_failed, mark_deleted or align.");
}

std::vector<migrate::LocalMigration> read_files(const std::string& text) {
  const nlohmann::json files = nlohmann::json::parse(text);
  if (!files.is_array())
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "files must be an array",
                   R"([{"script": "V1__x.sql", "checksum": 123}])");
  std::vector<migrate::LocalMigration> local;
  for (const nlohmann::json& file : files) {
    if (!file.is_object() || !file.contains("script") || !file["script"].is_string() || !file.contains("checksum") ||
        !file["checksum"].is_number_integer())
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "each of files must have script and checksum",
                     R"([{"script": "V1__x.sql", "checksum": 123}])");
    migrate::LocalMigration migration;
    migration.script = file["script"];
    migration.checksum = file["checksum"];
    const auto parsed = migrate::parse_file_name(migration.script.substr(migration.script.find_last_of('/') + 1), {});
    if (!parsed.name)
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                     "script \"" + migration.script + "\" " + std::string(to_string(parsed.problem)));
    migration.name = *parsed.name;
    if (migration.name.kind != migrate::FileKind::callback) local.push_back(migration);
  }
  if (const auto duplicate = migrate::find_duplicate(local))
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, *duplicate);
  return local;
}

std::vector<migrate::AppliedMigration> read_history(const Project& project) {
  const Rows rows =
      bookkeep("SELECT installed_rank, version, description, type, script, checksum, success FROM dbops.migration"
               " WHERE project_id = $1::integer ORDER BY installed_rank",
               {to_text(project.id)});
  std::vector<migrate::AppliedMigration> applied;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    migrate::AppliedMigration row;
    row.rank = static_cast<int>(rows.integer(i, 0));
    if (!rows.is_null(i, 1)) row.version = migrate::Version::parse(rows.text(i, 1));
    row.description = rows.text(i, 2);
    row.type = rows.text(i, 3);
    row.script = rows.text(i, 4);
    if (!rows.is_null(i, 5)) row.checksum = static_cast<std::int32_t>(rows.integer(i, 5));
    row.success = rows.boolean(i, 6);
    applied.push_back(row);
  }
  return applied;
}

migrate::PlanOptions read_options(bool out_of_order, const std::string& ignore) {
  migrate::PlanOptions options;
  options.out_of_order = out_of_order;
  options.ignore.clear();
  for (std::size_t at = 0; at <= ignore.size();) {
    const std::size_t end = std::min(ignore.find(',', at), ignore.size());
    const std::string text = ignore.substr(at, end - at);
    at = end + 1;
    if (text.empty()) continue;
    const auto pattern = migrate::IgnorePattern::parse(text);
    if (!pattern)
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "\"" + text + "\" is not a pattern of migrations to ignore",
                     "repeatable, versioned or *, a colon, and missing, pending, ignored, future or *.");
    options.ignore.push_back(*pattern);
  }
  return options;
}

void put_row(FunctionCallInfo fcinfo, const std::vector<Value>& values) {
  call_pg([fcinfo, &values] {
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    Datum datums[8];
    bool nulls[8];
    for (std::size_t i = 0; i < values.size(); ++i) {
      nulls[i] = !values[i].has_value();
      datums[i] = nulls[i] ? static_cast<Datum>(0) : CStringGetTextDatum(values[i]->c_str());
    }
    tuplestore_putvalues(result->setResult, result->setDesc, datums, nulls);
  });
}

void validate(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  const auto files = in.jsonb();
  const auto name = in.string();
  const bool out_of_order = in.boolean();
  const auto ignore = in.string();
  const std::vector<migrate::LocalMigration> local = read_files(files.value());
  const std::vector<migrate::AppliedMigration> applied = read_history(open_project(name.value(), false));
  const migrate::PlanOptions options = read_options(out_of_order, ignore.value());
  const migrate::Plan plan = migrate::make_plan(local, applied, options);
  const std::vector<migrate::ValidationError> errors = migrate::validate(plan, options, false);
  std::size_t next = 0; // errors come in the order of the infos
  for (const migrate::MigrationInfo& info : plan.infos) {
    Value problem;
    if (next < errors.size() && errors[next].info == &info) problem = errors[next++].message;
    put_row(fcinfo, {info.script(), info.version() ? Value(info.version()->text()) : std::nullopt,
                     std::string(to_string(info.state)), problem});
  }
}

} // namespace

} // namespace dbops::server::migration

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_baseline_migrations) {
  return boundary([fcinfo]() -> Datum {
    SpiConnection spi;
    Arguments in(fcinfo);
    const auto version = in.string();
    const auto description = in.string();
    const auto project = in.string();
    const int rank = migration::baseline(version.value(), description.value(), project.value());
    spi.close();
    return Int32GetDatum(rank);
  });
}

DBOPS_SQL_FUNCTION(dbops_repair_migration) {
  return boundary([fcinfo]() -> Datum {
    SpiConnection spi;
    const std::string done = migration::repair(fcinfo);
    spi.close();
    return call_pg([&done] { return CStringGetTextDatum(done.c_str()); });
  });
}

DBOPS_SQL_FUNCTION(dbops_set_migration_owner) {
  return boundary([fcinfo]() -> Datum {
    SpiConnection spi;
    Arguments in(fcinfo);
    const auto project = in.string();
    migration::set_owner(project.value(), in.relation("owner"));
    spi.close();
    return static_cast<Datum>(0);
  });
}

DBOPS_SQL_FUNCTION(dbops_validate_migrations) {
  return boundary([fcinfo]() -> Datum {
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    SpiConnection spi;
    migration::validate(fcinfo);
    spi.close();
    return static_cast<Datum>(0);
  });
}
