#include "cli/visibility_check.h"

#include "core/base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <poll.h>

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

// Ends what the server executes, and the connection, when a stop is requested.
void wait_or_stop(Connection& connection, int socket, const std::stop_token& stop) {
  constexpr int look = 100; // milliseconds
  for (;;) {
    if (stop.stop_requested()) {
      connection.cancel();
      throw core::Error(core::ErrorKind::cancelled, "the drill was cancelled");
    }
    pollfd descriptor{.fd = socket, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&descriptor, 1, look);
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) throw core::system_error(errno, "could not wait for the server");
  }
}

// Those that are wrong, of all databases.
struct Wrong {
  std::string named;
  int count = 0;
};

// A statement for each table. False: the extension is not there.
bool check_database(Connection& connection, const std::string& database, Wrong& wrong) {
  const auto schema = installed(connection);
  if (!schema) return false;
  const Result tables =
      connection.execute("SELECT oid, oid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_class WHERE relkind "
                         "IN ('r', 'm', 't') AND relpersistence = 'p' ORDER BY 2");
  const std::string sql = fmt::format("SELECT (SELECT count(*) FROM {0}.pg_check_visible($1::pg_catalog.oid)), (SELECT "
                                      "count(*) FROM {0}.pg_check_frozen($1::pg_catalog.oid))",
                                      *schema);
  for (int row = 0; row < tables.rows(); ++row) {
    const Result result = connection.execute(sql, {tables.text(row, 0)});
    if (result.integer(0, 0) == 0 && result.integer(0, 1) == 0) continue;
    if (++wrong.count <= most_named)
      wrong.named += fmt::format("{}{} in database {} ({} rows are not visible to all, {} not frozen)",
                                 wrong.named.empty() ? "" : ", ", tables.text(row, 1), database, result.integer(0, 0),
                                 result.integer(0, 1));
  }
  return true;
}

} // namespace

std::string check_visibility_maps(const std::function<Connection(const std::string& database)>& connect,
                                  const std::stop_token& stop) {
  std::vector<std::string> databases;
  {
    Connection connection = connect("postgres");
    // -2: a DROP DATABASE of it was interrupted, and nobody can connect (before 15.4 there is no such mark).
    const Result result = connection.execute("SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND "
                                             "datconnlimit <> -2 ORDER BY datname");
    for (int row = 0; row < result.rows(); ++row)
      databases.push_back(result.text(row, 0));
  }
  Wrong wrong;
  for (const std::string& database : databases) {
    Connection connection = connect(database);
    connection.wait_with([&](int socket) { wait_or_stop(connection, socket, stop); });
    if (!check_database(connection, database, wrong))
      return "visibility maps: the extension pg_visibility is not there";
  }
  if (wrong.count > 0)
    throw core::Error(core::ErrorKind::corrupt,
                      fmt::format("the visibility map is wrong of {} tables: {}{}", wrong.count, wrong.named,
                                  wrong.count > most_named ? ", ..." : ""));
  return {};
}

} // namespace dbops::cli
