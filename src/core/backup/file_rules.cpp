#include "core/backup/file_rules.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace dbops::core {

namespace {

constexpr std::array<std::string_view, 8> emptied{"pg_wal",    "pg_dynshmem",  "pg_notify",   "pg_replslot",
                                                  "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};

// In the data directory itself. pg_control is not here: it is copied last, by whoever walks.
constexpr std::array<std::string_view, 17> skipped{
    "postmaster.pid",       "postmaster.opts",          "backup_label",        "backup_label.old", "tablespace_map",
    "tablespace_map.old",   "backup_manifest",          "backup_manifest.tmp", "recovery.signal",  "standby.signal",
    "current_logfiles.tmp", "postgresql.auto.conf.tmp", "current_logfiles",    "dbops.restore",    "dbops.instance",
    "dbops.clock",          "dbops.clock.tmp"};

bool is_number(std::string_view text) noexcept {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

struct Split {
  std::string_view directory, name;
};

Split split(std::string_view path) noexcept {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {{}, path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

// "pg_tblspc/16400/PG_15_202209061"
bool is_tablespace(std::string_view path) noexcept {
  const Split version = split(path), space = split(version.directory);
  return space.directory == "pg_tblspc" && is_number(space.name) && version.name.starts_with("PG_");
}

// Where databases are.
bool holds_databases(std::string_view path) noexcept {
  return path == "base" || is_tablespace(path);
}

bool is_database(std::string_view path) noexcept {
  if (path == "global") return true;
  const Split parts = split(path);
  return is_number(parts.name) && holds_databases(parts.directory);
}

// "t3_16384", "t3_16384_fsm.1": a temporary relation
bool is_temporary_relation(std::string_view name) noexcept {
  if (!name.starts_with('t')) return false;
  const std::size_t line = name.find('_');
  if (line == std::string_view::npos || !is_number(name.substr(1, line - 1))) return false;
  const std::string_view rest = name.substr(line + 1);
  return !rest.empty() && is_number(rest.substr(0, 1));
}

} // namespace

FileRule file_rule(std::string_view path) noexcept {
  const Split parts = split(path);
  if (parts.directory.empty()) {
    if (std::ranges::find(emptied, parts.name) != emptied.end()) return FileRule::skip_contents;
    if (std::ranges::find(skipped, parts.name) != skipped.end()) return FileRule::skip;
    return FileRule::take;
  }
  if (path == "global/pg_control" || path == "global/pg_control.dbops") return FileRule::skip;
  if (holds_databases(parts.directory) && parts.name.starts_with("pgsql_tmp")) return FileRule::skip;
  if (is_database(parts.directory) && (parts.name.starts_with("pg_internal.init") || is_temporary_relation(parts.name)))
    return FileRule::skip;
  return FileRule::take;
}

std::optional<RelationFile> parse_relation_file(std::string_view path) noexcept {
  const Split parts = split(path);
  if (!is_database(parts.directory)) return {};
  std::string_view name = parts.name;
  RelationFile file;
  if (const std::size_t dot = name.find('.'); dot != std::string_view::npos) {
    const std::string_view number = name.substr(dot + 1);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), file.segment);
    if (!is_number(number) || number[0] == '0' || error != std::errc() || end != number.data() + number.size())
      return {};
    name = name.substr(0, dot);
  }
  if (const std::size_t line = name.find('_'); line != std::string_view::npos) {
    const std::string_view fork = name.substr(line + 1);
    if (fork == "fsm")
      file.fork = RelationFork::free_space;
    else if (fork == "vm")
      file.fork = RelationFork::visibility;
    else if (fork == "init")
      file.fork = RelationFork::init;
    else
      return {};
    name = name.substr(0, line);
  }
  if (!is_number(name) || name[0] == '0') return {};
  file.relation = name;
  return file;
}

std::string_view to_string(RelationFork fork) noexcept {
  switch (fork) {
  case RelationFork::main:
    return "main";
  case RelationFork::free_space:
    return "fsm";
  case RelationFork::visibility:
    return "vm";
  case RelationFork::init:
    return "init";
  }
  return "?";
}

} // namespace dbops::core
