// Names of migration files: V1.2__Add_users.sql, U1.2__x.sql, R__views.sql, B10__x.sql, beforeMigrate__x.sql.
// Flyway's grammar (its ResourceNameParser): prefix version separator description suffix.
#pragma once

#include "core/migrate/version.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::core::migrate {

enum class FileKind { versioned, undo, repeatable, baseline, callback };

struct Naming {
  std::string versioned = "V";
  std::string undo = "U";
  std::string repeatable = "R";
  std::string baseline = "B";
  std::string separator = "__";
  std::vector<std::string> suffixes{".sql"}; // compared without regard to case
};

struct FileName {
  FileKind kind = FileKind::versioned;
  std::optional<Version> version; // of versioned, undo and baseline
  std::string event;              // of callback: beforeMigrate
  std::string description;        // "_" has become a space; may be empty
};

// Why a file is not one: those that are not meant to be are nobody's mistake.
enum class NameProblem {
  other_suffix,    // not a file for us: README.md
  unknown_prefix,  // setup.sql
  no_version,      // V__x.sql
  not_a_version,   // Vacation.sql, V1a__x.sql
  version_unasked, // R1__x.sql, beforeMigrate1.sql
  no_separator,    // R.sql
  absent_event,    // beforeClean__x.sql: a callback of an event that never happens here
  unknown_event,   // beforeMigrat__x.sql
};
std::string_view to_string(NameProblem problem) noexcept;

struct ParsedName {
  std::optional<FileName> name; // absent: see problem
  NameProblem problem = NameProblem::other_suffix;
  std::string event; // of absent_event and unknown_event: what stands in its place
};

// file: without folders.
ParsedName parse_file_name(std::string_view file, const Naming& naming);

// The order of repeatable migrations and of callbacks by their descriptions: that of Java, by UTF-16 code units. Both
// are UTF-8.
struct ByUtf16 {
  bool operator()(std::string_view left, std::string_view right) const noexcept;
};

} // namespace dbops::core::migrate
