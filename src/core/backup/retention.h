// Which backups are kept. Nothing but arithmetic: the same input gives the same plan.
#pragma once

#include "core/base/clock.h"
#include "core/wal/segment.h"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

struct RetentionRules {
  // The newest backup of each of so many days (ISO weeks, months, years; UTC) that have any. Counted in periods with
  // backups, not from today on: a clock that jumps ahead, or a week without backups, removes nothing.
  unsigned last = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
  // Recovery to any time within it, counted back from the newest backup (or from now, if that is earlier).
  std::optional<std::chrono::seconds> pitr_window = {};

  [[nodiscard]] bool any() const noexcept {
    return last + daily + weekly + monthly + yearly > 0 || pitr_window.has_value();
  }
};

struct RetentionBackup {
  std::string label;
  WallTime finished;
  Lsn start_lsn = 0, stop_lsn = 0;
  bool pinned = false;
  std::string why_pinned = {};
  bool leads_to_newest = true; // false: it is of a timeline that the newest one's server did not come along
  // It cannot be relied on: what the rules keep is kept, and what they would keep if it was not there.
  bool damaged = false;
  TimelineId timeline = 0;
  std::vector<TimelineId> leads_to = {}; // its own, and those of other backups whose servers went through it
};

struct RetentionDecision {
  std::string label;
  std::vector<std::string> reasons; // why it is kept: "day 2026-11-21"; empty: it is not
  [[nodiscard]] bool keep() const noexcept { return !reasons.empty(); }
};

struct RetentionPlan {
  std::vector<RetentionDecision> decisions; // in the order of the backups
  // All WAL from here on is kept. Before it, that from start to stop of backups that are kept.
  Lsn wal_from = 0;
};

// backups: ascending by label. The newest one is always kept. Without pitr_window, WAL is kept from the oldest backup
// that is kept on. Throws std::logic_error when there is no rule.
RetentionPlan plan_retention(const std::vector<RetentionBackup>& backups, const RetentionRules& rules, WallTime now);

} // namespace dbops::core
