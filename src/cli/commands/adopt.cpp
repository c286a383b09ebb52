#include "cli/commands/adopt.h"

#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include "core/crypto/hash.h"
#include "core/migrate/checksum.h"
#include "core/migrate/liquibase.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

namespace dbops::cli {

namespace {

// What the server compares with the history. The raw checksum is what Flyway 3 and older have computed.
Json describe(const MigrationFiles& files) {
  Json list = Json::array();
  for (const core::migrate::LocalMigration& local : files.migrations()) {
    core::migrate::Crc32 raw;
    raw.add(read_sql_file(files.path(local)));
    list.push_back({{"script", local.script},
                    {"checksum", local.checksum},
                    {"raw_checksum", static_cast<std::int32_t>(raw.value())}});
  }
  return list;
}

// The scripts of a sqitch project, where there are some. It names them by SHA-1 of their bytes.
Json describe_scripts(const std::vector<std::string>& directories) {
  namespace fs = std::filesystem;
  Json list = Json::array();
  for (const std::string& directory : directories) {
    std::error_code missing;
    if (!fs::is_directory(fs::path(directory) / "deploy", missing)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(directory) / "deploy"))
      if (entry.is_regular_file() && entry.path().extension() == ".sql")
        list.push_back({{"script", fs::relative(entry.path(), directory).generic_string()},
                        {"sha1", core::sha1_hex(core::as_bytes(read_sql_file(entry.path().string())))}});
  }
  return list;
}

// The changesets of Liquibase in formatted SQL that are there. The server has MD5.
Json describe_changesets(const std::vector<std::string>& directories) {
  namespace fs = std::filesystem;
  Json list = Json::array();
  for (const std::string& directory : directories) {
    std::error_code missing;
    if (!fs::is_directory(directory, missing)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
      if (!entry.is_regular_file() || entry.path().extension() != ".sql") continue;
      for (const core::migrate::Changeset& changeset :
           core::migrate::read_changelog(read_sql_file(entry.path().string())))
        list.push_back({{"script", fs::relative(entry.path(), directory).generic_string()},
                        {"changeset", changeset.id + "::" + changeset.author},
                        {"text", changeset.text},
                        {"certain", changeset.certain}});
    }
  }
  return list;
}

} // namespace

int adopt(const MigrationCommand& command, const ConnectionSettings& settings) {
  Connection connection = Connector(settings).connect();
  // Flyway's, sqitch's and some of Liquibase's files can be compared; the others' need not be there.
  Json files = Json::array();
  const bool compare = !command.from || *command.from == "flyway";
  if (compare)
    files = describe(MigrationFiles(command.files));
  else if (*command.from == "sqitch")
    files = describe_scripts(command.files.directories);
  else if (*command.from == "liquibase")
    files = describe_changesets(command.files.directories);
  const Result result = connection.execute(
      "SELECT script, version, description, state, note FROM dbops.adopt_migrations($1::pg_catalog.text, "
      "$2::pg_catalog.text, $3::pg_catalog.jsonb, $4::pg_catalog.regclass)",
      {command.from ? Parameter(*command.from) : std::nullopt, command.project, files.dump(),
       command.table ? Parameter(*command.table) : std::nullopt});
  Json rows = Json::array();
  for (int row = 0; row < result.rows(); ++row) {
    rows.push_back({{"script", result.text(row, 0)},
                    {"version", result.is_null(row, 1) ? Json() : Json(result.text(row, 1))},
                    {"description", result.text(row, 2)},
                    {"state", result.text(row, 3)},
                    {"note", result.text(row, 4)}});
    if (command.json) continue;
    write_to_standard_output(fmt::format("{}  {}\n", result.text(row, 3), result.text(row, 0)));
    if (!result.text(row, 4).empty()) fmt::print(stderr, "dbops: {}: {}\n", result.text(row, 0), result.text(row, 4));
  }
  if (command.json)
    write_to_standard_output(dumped(Json{{"operation", "adopt"}, {"project", command.project}, {"migrations", rows}}) +
                             "\n");
  else
    fmt::print(stderr, "dbops: {} adopted into project \"{}\"; the other tool's tables are as they were\n",
               result.rows(), command.project);
  return exit_success;
}

} // namespace dbops::cli
