// Which files of a data directory belong into a backup: PostgreSQL's own rules (backup/basebackup.c).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dbops::core {

enum class FileRule {
  take,
  skip,          // neither the file or directory, nor what is in it
  skip_contents, // an empty directory
};

// Without the rule of unlogged relations, which needs to know what else is in the directory.
// path: below the data directory; what is in a tablespace is "pg_tblspc/<oid>/PG_15_.../...".
FileRule file_rule(std::string_view path) noexcept;

enum class RelationFork : std::uint8_t { main, free_space, visibility, init };

// A file of a relation: "16384", "16384.1", "16384_vm".
struct RelationFile {
  std::string_view relation; // "16384": pg_class.relfilenode
  RelationFork fork = RelationFork::main;
  std::uint32_t segment = 0; // each has 131072 pages
};

constexpr std::uint32_t relation_segment_pages = 131072; // RELSEG_SIZE

// Absent: not in the directory of a database, or not the name of a permanent relation's file.
std::optional<RelationFile> parse_relation_file(std::string_view path) noexcept;

// For messages: "main", "fsm", "vm", "init".
std::string_view to_string(RelationFork fork) noexcept;

} // namespace dbops::core
