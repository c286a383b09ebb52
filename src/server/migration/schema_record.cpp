// dbops.record_schema: the schema as the migrations have left it, which dbops.diff compares with.
#include "server/arguments.h"
#include "server/migration/history.h"

using namespace dbops::server;

namespace {

// What others had changed before the migrations ran, and the migrations did not touch, is not their work: of that the
// record stays as it was.
std::int64_t record(const migration::Project& project, const std::string& drift) {
  const char* const of_others =
      "WITH live AS MATERIALIZED (SELECT * FROM dbops.schema_definition()), others AS MATERIALIZED (SELECT d.kind, "
      "d.identity FROM jsonb_to_recordset($2::jsonb) d(kind text, identity text, live text) LEFT JOIN live l ON l.kind "
      "= "
      "d.kind AND l.identity = d.identity WHERE l.definition IS NOT DISTINCT FROM d.live) ";
  bookkeep(
      std::string(of_others) +
          "DELETE FROM dbops.migration_schema s WHERE s.project_id = $1::integer AND NOT EXISTS (SELECT FROM others o "
          "WHERE o.kind = s.kind AND o.identity = s.identity) AND NOT EXISTS (SELECT FROM live l WHERE l.kind = "
          "s.kind AND l.identity = s.identity)",
      {to_text(project.id), drift});
  bookkeep(
      std::string(of_others) +
          "INSERT INTO dbops.migration_schema (project_id, kind, identity, definition) SELECT $1::integer, l.kind, "
          "l.identity, l.definition FROM live l WHERE NOT EXISTS (SELECT FROM others o WHERE o.kind = l.kind AND "
          "o.identity = l.identity) ON CONFLICT (project_id, kind, identity) DO UPDATE SET definition = "
          "excluded.definition WHERE migration_schema.definition <> excluded.definition",
      {to_text(project.id), drift});
  return bookkeep("SELECT count(*) FROM dbops.migration_schema WHERE project_id = $1::integer", {to_text(project.id)})
      .integer(0, 0);
}

} // namespace

DBOPS_SQL_FUNCTION(dbops_record_schema) {
  return boundary([fcinfo]() -> Datum {
    SpiConnection spi;
    Arguments in(fcinfo);
    const auto name = in.string();
    const auto drift = in.jsonb();
    const migration::Project project = migration::open_project(name.value(), false);
    if (!migration::lock_project(project))
      throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, "another session is migrating project \"" + project.name + "\"",
                     "Wait until it is done.", migration::project_lock_holder(project));
    const std::int64_t objects = record(project, drift.value());
    spi.close();
    return Int64GetDatum(objects);
  });
}
