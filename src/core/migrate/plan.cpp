#include "core/migrate/plan.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace dbops::core::migrate {

namespace {

using State = MigrationState;

constexpr std::array<std::string_view, 18> state_names{
    "Pending",      "Above Target", "Below Baseline",  "Ignored (Baseline)",
    "Baseline",     "Ignored",      "Missing",         "Failed (Missing)",
    "Success",      "Undone",       "Available",       "Failed",
    "Out of Order", "Future",       "Failed (Future)", "Outdated",
    "Superseded",   "Deleted"};

bool is_synthetic(std::string_view type) noexcept {
  return type == "BASELINE" || type == "SCHEMA" || type == "DELETE" || type == "UNDO_SCRIPT";
}

// What was adopted of tools whose changes are no files of ours: a record, and nothing to compare with.
bool is_record(std::string_view type) noexcept {
  return type == "SCHEMA" || type == "LIQUIBASE" || type == "ALEMBIC" || type == "SQITCH";
}

// What the history alone says.
struct History {
  std::map<const AppliedMigration*, State> special; // deleted and undone rows
  std::set<const AppliedMigration*> out_of_order;
  std::map<std::string, int> latest_repeatable; // rank by description
  std::optional<Version> last_applied;          // not undone
  std::optional<Version> baseline;
};

bool same_migration(const AppliedMigration& left, const AppliedMigration& right) {
  if (left.version.has_value() != right.version.has_value()) return false;
  return left.version ? *left.version == *right.version : left.description == right.description;
}

// Rows before `row` of the same migration that stand for something applied get `state`.
void mark_before(History& history, const std::vector<AppliedMigration>& applied, const AppliedMigration& row,
                 State state) {
  for (const AppliedMigration& before : applied) {
    if (&before == &row) return;
    if (is_undo_type(before.type) || before.type == "DELETE" || !same_migration(before, row)) continue;
    history.special.try_emplace(&before, state);
  }
}

History read_history(const std::vector<AppliedMigration>& applied) {
  History history;
  for (const AppliedMigration& row : applied) {
    if (row.type == "DELETE")
      mark_before(history, applied, row, State::deleted);
    else if (is_undo_type(row.type) && row.success)
      mark_before(history, applied, row, State::undone);
    else if (is_baseline_type(row.type) && row.version && (!history.baseline || *history.baseline < *row.version))
      history.baseline = row.version;
  }
  std::optional<Version> highest;
  for (const AppliedMigration& row : applied) {
    if (row.type == "DELETE" || is_undo_type(row.type) || history.special.contains(&row)) continue;
    if (!row.version) {
      if (!is_record(row.type)) history.latest_repeatable[row.description] = row.rank;
      continue;
    }
    if (highest && *row.version < *highest)
      history.out_of_order.insert(&row);
    else
      highest = row.version;
  }
  history.last_applied = highest;
  return history;
}

// Versions that are written differently are the same one.
struct Local {
  std::map<Version, const LocalMigration*> versioned, baselines, undos;
  std::map<std::string, const LocalMigration*, ByUtf16> repeatable; // by description
  std::optional<Version> last;

  explicit Local(const std::vector<LocalMigration>& files) {
    for (const LocalMigration& file : files) {
      if (file.name.kind == FileKind::versioned)
        versioned[*file.name.version] = &file;
      else if (file.name.kind == FileKind::baseline)
        baselines[*file.name.version] = &file;
      else if (file.name.kind == FileKind::undo)
        undos[*file.name.version] = &file;
      else if (file.name.kind == FileKind::repeatable)
        repeatable[file.name.description] = &file;
      if (file.name.version && file.name.kind != FileKind::undo && (!last || *last < *file.name.version))
        last = file.name.version;
    }
  }

  [[nodiscard]] const LocalMigration* of(const AppliedMigration& row) const {
    const auto find = [](const auto& map, const auto& key) -> const LocalMigration* {
      const auto found = map.find(key);
      return found == map.end() ? nullptr : found->second;
    };
    if (!row.version) return find(repeatable, row.description);
    if (is_undo_type(row.type)) return find(undos, *row.version);
    if (row.type == "SQL_BASELINE" || row.type == "SQL_STATE_SCRIPT") return find(baselines, *row.version);
    return row.type == "BASELINE" ? nullptr : find(versioned, *row.version);
  }
};

bool checksum_matches(const LocalMigration& local, const std::optional<std::int32_t>& checksum) {
  return checksum == local.checksum || (checksum && local.equivalent_checksum == *checksum);
}

State applied_state(const AppliedMigration& row, const LocalMigration* local, const History& history,
                    const Local& files) {
  if (const auto special = history.special.find(&row); special != history.special.end()) return special->second;
  if (row.type == "DELETE" || is_record(row.type) || is_undo_type(row.type))
    return row.success ? State::success : State::failed;
  if (row.type == "BASELINE") return State::baseline;
  const auto latest = row.version ? history.latest_repeatable.end() : history.latest_repeatable.find(row.description);
  if (!row.version && (latest == history.latest_repeatable.end() || latest->second != row.rank))
    return State::superseded;
  if (local == nullptr) {
    const bool future = row.version && files.last && *files.last < *row.version;
    if (future || (row.version && !files.last)) return row.success ? State::future : State::future_failed;
    return row.success ? State::missing : State::missing_failed;
  }
  if (!row.success) return State::failed;
  if (!row.version) return checksum_matches(*local, row.checksum) ? State::success : State::outdated;
  if (is_baseline_type(row.type)) return State::baseline;
  return history.out_of_order.contains(&row) ? State::out_of_order : State::success;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

// A target with its words resolved.
struct Bound {
  bool unlimited = true;
  std::optional<Version> last; // without one, when limited: no version at all

  [[nodiscard]] bool admits(const Version& version) const { return unlimited || (last && version <= *last); }
};

// Of a local versioned or baseline migration that no row is of.
State local_state(const LocalMigration& local, const History& history, const Bound& bound, bool out_of_order,
                  const std::optional<Version>& pending_baseline) {
  const Version& version = *local.name.version;
  const bool baseline = local.name.kind == FileKind::baseline;
  const std::optional<Version>& base = pending_baseline ? pending_baseline : history.baseline;
  const bool is_pending_baseline = baseline && pending_baseline && version == *pending_baseline;
  if (base && version <= *base && !is_pending_baseline)
    return version < *base ? State::below_baseline : State::baseline_ignored;
  if (!bound.admits(version)) return State::above_target;
  if (baseline) return is_pending_baseline ? State::pending : State::ignored;
  if (!out_of_order && history.last_applied && version < *history.last_applied) return State::ignored;
  return State::pending;
}

bool matches(const IgnorePattern& pattern, bool repeatable, std::string_view status) {
  return (pattern.type == "*" || pattern.type == (repeatable ? "repeatable" : "versioned")) &&
         (pattern.status == "*" || pattern.status == status);
}

bool ignored(const PlanOptions& options, const MigrationInfo& info, std::string_view status) {
  return std::any_of(options.ignore.begin(), options.ignore.end(),
                     [&](const IgnorePattern& pattern) { return matches(pattern, !info.version(), status); });
}

std::string identifier(const MigrationInfo& info) {
  return info.version() ? "version " + info.version()->text() : "repeatable migration \"" + info.description() + "\"";
}

// What an applied migration and its file do not agree on.
std::optional<std::string> mismatch(const Plan& plan, const MigrationInfo& info) {
  if (!info.local || !info.applied || is_synthetic(info.applied->type) || is_undo_type(info.applied->type))
    return std::nullopt;
  if (info.version() && plan.applied_baseline && *info.version() <= *plan.applied_baseline &&
      info.applied->type != "SQL_BASELINE")
    return std::nullopt;
  if (info.state == State::undone || info.state == State::deleted || info.state == State::superseded ||
      info.state == State::outdated)
    return std::nullopt;
  const AppliedMigration& row = *info.applied;
  if (row.type == "JDBC") return "type of " + identifier(info) + " differs: applied JDBC, the file is SQL";
  if (!checksum_matches(*info.local, row.checksum))
    return "checksum of " + identifier(info) + " differs: applied " +
           (row.checksum ? std::to_string(*row.checksum) : "none") + ", the file " + info.local->script + " has " +
           std::to_string(info.local->checksum);
  if (row.description != info.local->name.description)
    return "description of " + identifier(info) + " differs: applied \"" + row.description + "\", the file \"" +
           info.local->name.description + "\"";
  return std::nullopt;
}

std::optional<std::string> problem(const Plan& plan, const PlanOptions& options, const MigrationInfo& info,
                                   bool pending_ignored) {
  const State state = info.state;
  switch (state) {
  case State::failed:
  case State::missing_failed:
    return "failed: " + identifier(info) + " (" + info.script() + ") was begun and has not been finished";
  case State::future_failed:
    if (ignored(options, info, "future")) return std::nullopt;
    return "failed: " + identifier(info) + " (" + info.script() + ") was begun and has not been finished";
  case State::missing:
    if (ignored(options, info, "missing")) return std::nullopt;
    return "applied, and not among the files: " + identifier(info) + " (" + info.script() + ")";
  case State::future:
    if (ignored(options, info, "future")) return std::nullopt;
    return "applied, and later than every file: " + identifier(info) + " (" + info.script() + ")";
  case State::ignored:
    if (ignored(options, info, "ignored") || info.local->name.kind == FileKind::baseline) return std::nullopt;
    return "not applied, and earlier than what is: " + identifier(info) + " (" + info.script() + ")";
  case State::pending:
    if (pending_ignored || ignored(options, info, "pending")) return std::nullopt;
    return "not applied: " + identifier(info) + " (" + info.script() + ")";
  case State::outdated:
    if (pending_ignored || ignored(options, info, "pending")) return std::nullopt;
    return "changed since it was applied: " + identifier(info) + " (" + info.script() + ")";
  default:
    return mismatch(plan, info);
  }
}

} // namespace

std::string_view to_string(MigrationState state) noexcept {
  return state_names[static_cast<std::size_t>(state)];
}

std::string_view history_type(FileKind kind) noexcept {
  if (kind == FileKind::undo) return "UNDO_SQL";
  return kind == FileKind::baseline ? "SQL_BASELINE" : "SQL";
}

bool is_undo_type(std::string_view type) noexcept {
  return type.starts_with("UNDO_");
}

bool is_baseline_type(std::string_view type) noexcept {
  return type == "BASELINE" || type == "SQL_BASELINE" || type == "JDBC_BASELINE" || type == "SQL_STATE_SCRIPT" ||
         type == "JDBC_STATE_SCRIPT";
}

std::optional<IgnorePattern> IgnorePattern::parse(std::string_view text) {
  const std::string lower = lower_case(text);
  const std::size_t colon = lower.find(':');
  if (colon == std::string::npos) return std::nullopt;
  IgnorePattern pattern{lower.substr(0, colon), lower.substr(colon + 1)};
  const auto one_of = [](const std::string& word, std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (!one_of(pattern.type, {"repeatable", "versioned", "*"})) return std::nullopt;
  if (!one_of(pattern.status, {"missing", "pending", "ignored", "future", "*"})) return std::nullopt;
  return pattern;
}

std::optional<Target> Target::parse(std::string_view text) {
  const std::string word = lower_case(text);
  if (word == "latest") return Target{Kind::latest, {}, false};
  if (word == "current") return Target{Kind::current, {}, false};
  if (word == "next") return Target{Kind::next, {}, false};
  const bool may_be_missing = text.ends_with('?');
  if (may_be_missing) text.remove_suffix(1);
  auto version = Version::parse(text);
  if (!version) return std::nullopt;
  return Target{Kind::version, std::move(version), may_be_missing};
}

std::optional<std::string> find_duplicate(const std::vector<LocalMigration>& local) {
  std::map<std::pair<FileKind, Version>, const LocalMigration*> versions;
  std::map<std::string, const LocalMigration*> repeatables;
  for (const LocalMigration& file : local) {
    const LocalMigration* other = nullptr;
    if (file.name.version) {
      const auto [found, added] = versions.try_emplace({file.name.kind, *file.name.version}, &file);
      if (!added) other = found->second;
    } else if (file.name.kind == FileKind::repeatable) {
      const auto [found, added] = repeatables.try_emplace(file.name.description, &file);
      if (!added) other = found->second;
    }
    if (other != nullptr)
      return "more than one file for " +
             (file.name.version ? "version " + file.name.version->text()
                                : "repeatable migration \"" + file.name.description + "\"") +
             ": " + other->script + ", " + file.script;
  }
  return std::nullopt;
}

namespace {

Plan plan_within(const std::vector<LocalMigration>& local, const std::vector<AppliedMigration>& applied,
                 const History& history, bool out_of_order, const Bound& bound) {
  const Local files(local);
  Plan plan;
  plan.current = history.last_applied;
  plan.applied_baseline = history.baseline;

  std::set<const LocalMigration*> done; // applied, and not taken back
  for (const AppliedMigration& row : applied) {
    const LocalMigration* file = files.of(row);
    const State state = applied_state(row, file, history, files);
    plan.infos.push_back({state, file, &row});
    if (file && state != State::undone && state != State::deleted && row.type != "DELETE" && state != State::outdated &&
        state != State::superseded)
      done.insert(file);
  }
  // What is half done is gone on with: a version before the others, what is repeatable in its place behind them.
  std::set<const LocalMigration*> half_done;
  for (const MigrationInfo& info : plan.infos) {
    if (info.state != State::failed || !info.local || is_undo_type(info.applied->type)) continue;
    half_done.insert(info.local);
    if (info.local->name.version) plan.pending.push_back(info.local);
  }

  const bool empty =
      std::none_of(applied.begin(), applied.end(), [](const AppliedMigration& row) { return row.type != "SCHEMA"; });
  std::optional<Version> pending_baseline;
  if (empty)
    for (const auto& [version, file] : files.baselines)
      if (bound.admits(version)) pending_baseline = version;

  // A baseline comes after a versioned migration of the same version.
  std::vector<const LocalMigration*> order;
  for (const auto* map : {&files.versioned, &files.baselines})
    for (const auto& [version, file] : *map)
      order.push_back(file);
  std::stable_sort(order.begin(), order.end(), [](const LocalMigration* a, const LocalMigration* b) {
    return *a->name.version < *b->name.version;
  });
  std::vector<MigrationInfo> covered; // by a baseline: they come first
  std::vector<MigrationInfo> others;
  for (const LocalMigration* file : order) {
    if (done.contains(file)) continue;
    const State state = local_state(*file, history, bound, out_of_order, pending_baseline);
    (state == State::below_baseline || state == State::baseline_ignored ? covered : others)
        .push_back({state, file, nullptr});
    if (state == State::pending) plan.pending.push_back(file);
  }
  plan.infos.insert(plan.infos.begin(), covered.begin(), covered.end());
  plan.infos.insert(plan.infos.end(), others.begin(), others.end());
  for (const auto& [description, file] : files.repeatable) {
    if (half_done.contains(file)) plan.pending.push_back(file);
    if (done.contains(file)) continue;
    plan.infos.push_back({State::pending, file, nullptr});
    plan.pending.push_back(file);
  }
  for (const auto& undo : files.undos) {
    const bool can = std::any_of(plan.infos.begin(), plan.infos.end(), [&](const MigrationInfo& info) {
      return info.applied && info.local && info.local->name.kind == FileKind::versioned &&
             *info.local->name.version == undo.first &&
             (info.state == State::success || info.state == State::out_of_order);
    });
    if (can) plan.infos.push_back({State::available, undo.second, nullptr});
  }
  return plan;
}

} // namespace

Plan make_plan(const std::vector<LocalMigration>& local, const std::vector<AppliedMigration>& applied,
               const PlanOptions& options) {
  const History history = read_history(applied);
  Bound bound;
  if (options.target.kind == Target::Kind::version) bound = {false, options.target.version};
  if (options.target.kind == Target::Kind::current) bound = {false, history.last_applied};
  Plan plan = plan_within(local, applied, history, options.out_of_order, bound);
  if (options.target.kind != Target::Kind::next) return plan;
  const auto next = std::find_if(plan.pending.begin(), plan.pending.end(),
                                 [](const LocalMigration* file) { return file->name.version.has_value(); });
  if (next == plan.pending.end()) return plan;
  return plan_within(local, applied, history, options.out_of_order, {false, (*next)->name.version});
}

bool target_exists(const std::vector<LocalMigration>& local, const std::vector<AppliedMigration>& applied,
                   const Target& target) {
  if (target.kind != Target::Kind::version || target.may_be_missing) return true;
  const auto is_it = [&target](const auto& version) { return version && version == target.version; };
  return std::any_of(local.begin(), local.end(),
                     [&](const LocalMigration& file) { return is_it(file.name.version); }) ||
         std::any_of(applied.begin(), applied.end(), [&](const AppliedMigration& row) { return is_it(row.version); });
}

std::vector<ValidationError> validate(const Plan& plan, const PlanOptions& options, bool pending_ignored) {
  std::vector<ValidationError> errors;
  for (const MigrationInfo& info : plan.infos)
    if (auto message = problem(plan, options, info, pending_ignored)) errors.push_back({&info, *std::move(message)});
  return errors;
}

std::vector<UndoStep> undo_plan(const std::vector<LocalMigration>& local, const std::vector<AppliedMigration>& applied,
                                const std::optional<Version>& target) {
  const History history = read_history(applied);
  const Local files(local);
  std::vector<const AppliedMigration*> live;
  for (const AppliedMigration& row : applied)
    if (row.version && row.success && !is_undo_type(row.type) && row.type != "DELETE" && !is_baseline_type(row.type) &&
        !history.special.contains(&row))
      live.push_back(&row);
  std::stable_sort(live.begin(), live.end(),
                   [](const AppliedMigration* a, const AppliedMigration* b) { return *a->version > *b->version; });
  std::vector<UndoStep> steps;
  for (const AppliedMigration* row : live) {
    if (target ? *row->version < *target : !steps.empty()) break;
    const auto undo = files.undos.find(*row->version);
    steps.push_back({row, undo == files.undos.end() ? nullptr : undo->second});
  }
  return steps;
}

std::vector<RepairAction> repair_plan(const Plan& plan, const PlanOptions& options) {
  using Kind = RepairAction::Kind;
  std::vector<RepairAction> actions;
  for (const MigrationInfo& info : plan.infos) {
    if (!info.applied) continue;
    const AppliedMigration& row = *info.applied;
    if (!row.success)
      actions.push_back({Kind::remove_failed, &row, nullptr});
    else if ((info.state == State::missing && !ignored(options, info, "missing")) ||
             (info.state == State::future && !ignored(options, info, "future")))
      actions.push_back({Kind::mark_deleted, &row, nullptr});
    else if (info.state != State::undone && info.state != State::deleted && info.local && !is_synthetic(row.type) &&
             !is_undo_type(row.type)) {
      const bool differs = row.checksum != info.local->checksum || row.description != info.local->name.description;
      const bool equivalent = row.checksum && row.checksum == info.local->equivalent_checksum;
      if (differs && (info.local->name.version || equivalent)) actions.push_back({Kind::align, &row, info.local});
    }
  }
  return actions;
}

} // namespace dbops::core::migrate
