// The migration files of some directories: read, checked, their placeholders replaced.
#pragma once

#include "core/migrate/placeholder.h"
#include "core/migrate/plan.h"

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace dbops::cli {

struct FileSettings {
  std::vector<std::string> directories{"migrations"};
  core::migrate::Naming naming;
  core::migrate::Placeholders placeholders;
  bool replace_placeholders = true;
  bool may_be_missing = false;  // a directory that is not there is an empty one
  bool validate_naming = false; // a name that is neither a migration's nor a callback's is an error
};

// Something is wrong with a file; the message names it.
class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class MigrationFiles {
 public:
  // Throws FileError: no directory, two files for one version, not UTF-8, unknown placeholder in a repeatable one.
  explicit MigrationFiles(const FileSettings& settings);

  [[nodiscard]] const std::vector<core::migrate::LocalMigration>& migrations() const noexcept { return migrations_; }
  // In the order of their descriptions.
  [[nodiscard]] std::vector<const core::migrate::LocalMigration*> callbacks(std::string_view event) const;

  // What is to be executed: without a byte order mark, placeholders replaced. Throws FileError.
  [[nodiscard]] std::string sql(const core::migrate::LocalMigration& migration) const;
  [[nodiscard]] std::string path(const core::migrate::LocalMigration& migration) const;
  // Files that look as if they were meant to be executed, and are not: a line each, for people.
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }

 private:
  void add(const std::filesystem::path& root, const std::filesystem::path& file);
  void not_executed(const std::filesystem::path& file, const core::migrate::ParsedName& parsed);
  [[nodiscard]] std::string replaced(const std::string& text, const std::filesystem::path& file) const;

  FileSettings settings_;
  std::vector<core::migrate::LocalMigration> migrations_;
  std::vector<core::migrate::LocalMigration> callbacks_;
  std::map<std::string, std::filesystem::path> paths_; // by script
  std::vector<std::string> warnings_;
};

// The bytes of a file; "-" is standard input. Throws FileError when it cannot be read or is not UTF-8.
std::string read_sql_file(const std::string& path);

} // namespace dbops::cli
