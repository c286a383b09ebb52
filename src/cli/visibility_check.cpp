#include "cli/visibility_check.h"

#include "core/base/error.h"

#include <fmt/format.h>

namespace dbops::cli {

namespace {

constexpr int most_named = 10;

// The schema that it is in, quoted. Absent: it is not installed.
std::optional<std::string> schema_of_extension(Connection& connection) {
  const Result result = connection.execute(
      "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid "
      "= e.extnamespace WHERE e.extname = 'pg_visibility'");
  return result.rows() == 0 ? std::nullopt : std::optional(result.text(0, 0));
}

std::optional<std::string> installed(Connection& connection) {
  if (auto schema = schema_of_extension(connection)) return schema;
  const Result known =
      connection.execute("SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'pg_visibility'");
  if (known.rows() == 0) return {};
  connection.execute("CREATE EXTENSION pg_visibility SCHEMA pg_catalog");
  return schema_of_extension(connection);
}

} // namespace

std::string check_visibility_maps(const std::function<Connection(const std::string& database)>& connect) {
  std::vector<std::string> databases;
  {
    Connection connection = connect("postgres");
    const Result result =
        connection.execute("SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname");
    for (int row = 0; row < result.rows(); ++row)
      databases.push_back(result.text(row, 0));
  }
  std::string wrong;
  int count = 0;
  for (const std::string& database : databases) {
    Connection connection = connect(database);
    const auto schema = installed(connection);
    if (!schema) return "visibility maps: the extension pg_visibility is not there";
    const Result result = connection.execute(fmt::format(
        "SELECT * FROM (SELECT c.oid::pg_catalog.regclass::pg_catalog.text, (SELECT count(*) FROM "
        "{0}.pg_check_visible(c.oid)), (SELECT count(*) FROM {0}.pg_check_frozen(c.oid)) FROM pg_catalog.pg_class c "
        "WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p') AS checked (relation, visible, frozen) WHERE "
        "visible > 0 OR frozen > 0 ORDER BY relation",
        *schema));
    for (int row = 0; row < result.rows(); ++row)
      if (++count <= most_named)
        wrong += fmt::format("{}{} in database {} ({} rows are not visible to all, {} not frozen)",
                             wrong.empty() ? "" : ", ", result.text(row, 0), database, result.integer(row, 1),
                             result.integer(row, 2));
  }
  if (count > 0)
    throw core::Error(core::ErrorKind::corrupt, fmt::format("the visibility map is wrong of {} tables: {}{}", count,
                                                            wrong, count > most_named ? ", ..." : ""));
  return {};
}

} // namespace dbops::cli
