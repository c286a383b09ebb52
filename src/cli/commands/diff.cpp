#include "cli/commands/diff.h"

#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/terminal.h"

#include <fmt/format.h>

namespace dbops::cli {

std::string schema_drift(Connection& connection, const std::string& project) {
  return connection
      .execute("SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(d)), '[]') FROM "
               "dbops.diff($1::pg_catalog.text) d",
               {project})
      .text(0, 0);
}

void record_schema(Connection& connection, const std::string& project, const std::string& drift) {
  connection.execute("SELECT dbops.record_schema($1::pg_catalog.text, $2::pg_catalog.jsonb)", {project, drift});
}

int diff(const MigrationCommand& command, const ConnectionSettings& settings) {
  Connection connection = Connector(settings).connect();
  const Json rows = Json::parse(schema_drift(connection, command.project));
  if (command.json)
    write_to_standard_output(dumped(Json{{"operation", "diff"}, {"project", command.project}, {"differences", rows}}) +
                             "\n");
  else
    for (const Json& row : rows)
      write_to_standard_output(fmt::format("{} {} {}\n", row.at("change").get<std::string>(),
                                           row.at("kind").get<std::string>(), row.at("identity").get<std::string>()));
  return rows.empty() ? exit_success : exit_job;
}

} // namespace dbops::cli
