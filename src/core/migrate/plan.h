// What a directory of migrations and a history make together: the state of each, what is to be applied and in which
// order, what is wrong. The rules are Flyway's (its MigrationInfoImpl), so that both agree on a directory.
#pragma once

#include "core/migrate/file_name.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::core::migrate {

// A migration file (no callback).
struct LocalMigration {
  FileName name;
  std::string script;                              // its path below the directory that it was found in
  std::int32_t checksum = 0;                       // of a repeatable one: after placeholders have been replaced
  std::optional<std::int32_t> equivalent_checksum; // of a repeatable one: of the text as it is in the file
};

// A row of the history. Types: SQL, UNDO_SQL, SQL_BASELINE, BASELINE, DELETE, SCHEMA, and what other tools have
// written.
struct AppliedMigration {
  int rank = 0;
  std::optional<Version> version;
  std::string description;
  std::string type;
  std::string script;
  std::optional<std::int32_t> checksum;
  bool success = true;
};

enum class MigrationState {
  pending,
  above_target,
  below_baseline,
  baseline_ignored,
  baseline,
  ignored,
  missing,
  missing_failed,
  success,
  undone,
  available,
  failed,
  out_of_order,
  future,
  future_failed,
  outdated,
  superseded,
  deleted,
};
// As Flyway shows it: "Out of Order".
std::string_view to_string(MigrationState state) noexcept;

// One line of `info`. At least one of local and applied is there.
struct MigrationInfo {
  MigrationState state = MigrationState::pending;
  const LocalMigration* local = nullptr;
  const AppliedMigration* applied = nullptr;

  [[nodiscard]] const std::optional<Version>& version() const { return local ? local->name.version : applied->version; }
  [[nodiscard]] const std::string& description() const {
    return applied ? applied->description : local->name.description;
  }
  [[nodiscard]] const std::string& script() const { return applied ? applied->script : local->script; }
};

// "*:missing", "repeatable:pending": what validate lets pass.
struct IgnorePattern {
  std::string type;   // repeatable, versioned, *
  std::string status; // missing, pending, ignored, future, *
  // Nothing when the text is not a pattern.
  static std::optional<IgnorePattern> parse(std::string_view text);
};

// How far to go. Words are Flyway's, in any case: "latest"; "current", no further version, but what is repeatable;
// "next", the first version that is pending.
struct Target {
  enum class Kind { latest, current, next, version } kind = Kind::latest;
  std::optional<Version> version; // of Kind::version
  bool may_be_missing = false;    // "1.5?": there need not be a migration of it
  // Nothing when the text is neither a word nor a version.
  static std::optional<Target> parse(std::string_view text);
};

struct PlanOptions {
  Target target; // nothing beyond it
  bool out_of_order = false;
  std::vector<IgnorePattern> ignore{{"*", "future"}};
};

// Keeps pointers into what it was made of.
struct Plan {
  std::vector<MigrationInfo> infos;           // what a baseline covers, what is applied by rank, what is not applied
  std::vector<const LocalMigration*> pending; // in the order in which they are to be applied
  std::optional<Version> current;             // highest that is applied and not undone
  std::optional<Version> applied_baseline;
};
Plan make_plan(const std::vector<LocalMigration>& local, const std::vector<AppliedMigration>& applied,
               const PlanOptions& options);

// False: no migration, as a file or applied, has the version that the target wants to be there.
bool target_exists(const std::vector<LocalMigration>& local, const std::vector<AppliedMigration>& applied,
                   const Target& target);

// Two files that claim the same place: text for people, or nothing.
std::optional<std::string> find_duplicate(const std::vector<LocalMigration>& local);

// What validate finds wrong, one text each. pending_ignored: before migrate.
struct ValidationError {
  const MigrationInfo* info = nullptr;
  std::string message;
};
std::vector<ValidationError> validate(const Plan& plan, const PlanOptions& options, bool pending_ignored);

// The migrations that undo would take back, latest first: down to, and with, `target`; without one, the latest.
struct UndoStep {
  const AppliedMigration* applied = nullptr;
  const LocalMigration* undo = nullptr; // absent: there is no file
};
std::vector<UndoStep> undo_plan(const std::vector<LocalMigration>& local, const std::vector<AppliedMigration>& applied,
                                const std::optional<Version>& target);

// What repair changes: rows of failed attempts go; rows without a file get one of type DELETE; checksums, descriptions
// and types of the others become those of the files.
struct RepairAction {
  enum class Kind { remove_failed, mark_deleted, align } kind{};
  const AppliedMigration* applied = nullptr;
  const LocalMigration* local = nullptr; // of align
};
std::vector<RepairAction> repair_plan(const Plan& plan, const PlanOptions& options);

// The type that a local migration has in the history.
std::string_view history_type(FileKind kind) noexcept;
bool is_undo_type(std::string_view type) noexcept;
bool is_baseline_type(std::string_view type) noexcept;

} // namespace dbops::core::migrate
