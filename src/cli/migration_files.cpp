#include "cli/migration_files.h"

#include "core/migrate/callback.h"
#include "core/migrate/checksum.h"
#include "core/migrate/statement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iostream>
#include <sstream>
#include <system_error>

namespace dbops::cli {

namespace {

namespace fs = std::filesystem;
namespace migrate = core::migrate;

void require_utf8(const std::string& bytes, const std::string& path) {
  if (bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff"))
    throw FileError(path + " is in UTF-16; save it as UTF-8");
  const auto bad = migrate::invalid_utf8(bytes);
  if (!bad) return;
  const migrate::LineColumn place = migrate::line_column(bytes, *bad);
  throw FileError(fmt::format("{}: line {}, column {}: byte 0x{:02x} is not UTF-8", path, place.line, place.column,
                              static_cast<unsigned char>(bytes[*bad])));
}

// Of X.sql.conf, Flyway's settings of one file.
bool wants_placeholders(const fs::path& file) {
  std::ifstream conf(file.string() + ".conf");
  for (std::string line; std::getline(conf, line);) {
    std::erase_if(line, [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
    if (line == "placeholderReplacement=false") return false;
  }
  return true;
}

bool is_within(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

// Directories are searched with those below them: one that is below another one, or is the same, is there once.
std::vector<std::string> without_nested(const std::vector<std::string>& directories) {
  std::vector<fs::path> real;
  for (const std::string& directory : directories) {
    std::error_code error;
    real.push_back(fs::weakly_canonical(fs::path(directory) / "", error));
    if (error) real.back() = directory; // what is wrong with it is said when it is searched
    if (!real.back().has_filename()) real.back() = real.back().parent_path();
  }
  std::vector<std::string> kept;
  for (std::size_t i = 0; i < real.size(); ++i) {
    bool again = false;
    for (std::size_t j = 0; j < real.size() && !again; ++j)
      again = i != j && is_within(real[i], real[j]) && (real[i] != real[j] || j < i);
    if (!again) kept.push_back(directories[i]);
  }
  return kept;
}

} // namespace

std::string read_sql_file(const std::string& path) {
  std::ostringstream bytes;
  if (path == "-")
    bytes << std::cin.rdbuf();
  else {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw FileError(path + " cannot be read: " + std::generic_category().message(errno));
    bytes << file.rdbuf();
    // Nothing was written: the file is empty, which is fine.
    if (file.bad()) throw FileError(path + " cannot be read: " + std::generic_category().message(errno));
  }
  std::string text = std::move(bytes).str();
  require_utf8(text, path);
  return text;
}

MigrationFiles::MigrationFiles(const FileSettings& settings) : settings_(settings) {
  for (const std::string& directory : without_nested(settings.directories)) {
    std::error_code error;
    const bool there = fs::is_directory(directory, error);
    if (!there && settings.may_be_missing) continue;
    if (!there) throw FileError("directory " + directory + " is not there" + (error ? ": " + error.message() : ""));
    std::vector<fs::path> found;
    for (const auto& entry :
         fs::recursive_directory_iterator(directory, fs::directory_options::follow_directory_symlink))
      if (entry.is_regular_file()) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    for (const fs::path& file : found)
      add(directory, file);
  }
  if (const auto duplicate = migrate::find_duplicate(migrations_)) throw FileError(*duplicate);
}

void MigrationFiles::not_executed(const fs::path& file, const migrate::ParsedName& parsed) {
  const std::string reason = file.string() + " " + std::string(to_string(parsed.problem));
  switch (parsed.problem) {
  case migrate::NameProblem::other_suffix:
    return;
  case migrate::NameProblem::absent_event: // Flyway's own, in a directory that Flyway uses too
    warnings_.push_back(reason + ": " + migrate::explain_event(parsed.event) + "; it is not executed");
    return;
  case migrate::NameProblem::unknown_event:
    if (settings_.validate_naming) throw FileError(reason + ": " + migrate::explain_event(parsed.event));
    warnings_.push_back(reason + ", and it is not executed: " + migrate::explain_event(parsed.event));
    return;
  default:
    if (settings_.validate_naming) throw FileError(reason);
  }
}

void MigrationFiles::add(const fs::path& root, const fs::path& file) {
  const migrate::ParsedName parsed = migrate::parse_file_name(file.filename().string(), settings_.naming);
  if (!parsed.name) {
    not_executed(file, parsed);
    return;
  }
  migrate::LocalMigration local;
  local.name = *parsed.name;
  local.script = fs::relative(file, root).generic_string();
  if (!paths_.emplace(local.script, file).second)
    throw FileError("more than one file " + local.script + ": " + paths_[local.script].string() + ", " + file.string());
  const std::string text = read_sql_file(file.string());
  local.checksum = migrate::line_checksum(text);
  if (local.name.kind == migrate::FileKind::repeatable) {
    local.equivalent_checksum = local.checksum;
    local.checksum = migrate::line_checksum(replaced(text, file));
  }
  (local.name.kind == migrate::FileKind::callback ? callbacks_ : migrations_).push_back(std::move(local));
}

std::string MigrationFiles::replaced(const std::string& text, const fs::path& file) const {
  if (!settings_.replace_placeholders || !wants_placeholders(file)) return text;
  migrate::Placeholders values = settings_.placeholders;
  values["flyway:filename"] = file.filename().string();
  values["flyway:workingDirectory"] = fs::current_path().string();
  migrate::UnknownPlaceholder unknown;
  if (auto result = migrate::replace_placeholders(text, values, unknown)) return *std::move(result);
  const migrate::LineColumn place = migrate::line_column(text, unknown.position);
  throw FileError(
      fmt::format("{}: line {}, column {}: no value for the placeholder ${{{}}}; --placeholder {}=VALUE, or "
                  "--no-placeholders",
                  file.string(), place.line, place.column, unknown.name, unknown.name));
}

std::vector<const migrate::LocalMigration*> MigrationFiles::callbacks(std::string_view event) const {
  std::vector<const migrate::LocalMigration*> found;
  for (const migrate::LocalMigration& callback : callbacks_)
    if (callback.name.event == event) found.push_back(&callback);
  std::stable_sort(found.begin(), found.end(), [](const auto* a, const auto* b) {
    return migrate::ByUtf16()(a->name.description, b->name.description);
  });
  return found;
}

std::string MigrationFiles::path(const migrate::LocalMigration& migration) const {
  return paths_.at(migration.script).string();
}

std::string MigrationFiles::sql(const migrate::LocalMigration& migration) const {
  const fs::path& file = paths_.at(migration.script);
  const std::string text = read_sql_file(file.string());
  const bool repeatable = migration.name.kind == migrate::FileKind::repeatable;
  if (migrate::line_checksum(repeatable ? replaced(text, file) : text) != migration.checksum)
    throw FileError(file.string() + " was changed while dbops was at work");
  return replaced(std::string(migrate::without_bom(text)), file);
}

} // namespace dbops::cli
