#include "core/backup/retention.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>

namespace dbops::core {

namespace {

namespace chrono = std::chrono;

std::string padded(int value, std::size_t digits) {
  const std::string text = std::to_string(value);
  return text.size() < digits ? std::string(digits - text.size(), '0') + text : text;
}

chrono::year_month_day day_of(WallTime time) {
  return chrono::floor<chrono::days>(time);
}

std::string day_name(WallTime time) {
  const auto day = day_of(time);
  return padded(int(day.year()), 4) + "-" + padded(int(unsigned(day.month())), 2) + "-" +
         padded(int(unsigned(day.day())), 2);
}

std::string month_name(WallTime time) {
  return day_name(time).substr(0, 7);
}

std::string year_name(WallTime time) {
  return day_name(time).substr(0, 4);
}

// The week has the year of its Thursday (ISO 8601).
std::string week_name(WallTime time) {
  const chrono::sys_days day = chrono::floor<chrono::days>(time);
  const chrono::sys_days thursday = day + chrono::days(4 - int(chrono::weekday(day).iso_encoding()));
  const chrono::year year = chrono::year_month_day(thursday).year();
  const auto since_new_year = thursday - chrono::sys_days(year / chrono::January / 1);
  return padded(int(year), 4) + "-W" + padded(int(since_new_year.count() / 7 + 1), 2);
}

// The newest backup of each of the newest `count` periods that have one.
void keep_periods(const std::vector<RetentionBackup>& backups, std::vector<RetentionDecision>& decisions,
                  unsigned count, const char* what, const std::function<std::string(WallTime)>& name) {
  std::vector<std::string> seen;
  for (std::size_t i = backups.size(); i-- > 0 && seen.size() < count;) {
    std::string period = name(backups[i].finished);
    if (std::ranges::find(seen, period) != seen.end()) continue;
    decisions[i].reasons.push_back(std::string(what) + " " + period);
    seen.push_back(std::move(period));
  }
}

// What recovery to any time of the window needs. Returns where WAL has to begin.
Lsn keep_window(const std::vector<RetentionBackup>& backups, std::vector<RetentionDecision>& decisions,
                chrono::seconds window, WallTime now) {
  // A clock that was behind makes a backup none of an earlier time: it was finished no earlier than those before it.
  std::vector<WallTime> finished;
  for (const RetentionBackup& backup : backups)
    finished.push_back(finished.empty() ? backup.finished : std::max(finished.back(), backup.finished));
  const WallTime from = std::min(finished.back(), now) - window;
  // The last one that was complete when the window begins, of all and of those that lead to the newest: what came after
  // the moment to which a server was restored is not of its history. And of those that lead to each timeline that has
  // backups in the window: there may be more than one server. Without it, all there are.
  std::set<TimelineId> timelines;
  for (std::size_t i = 0; i < backups.size(); ++i)
    if (finished[i] > from) timelines.insert(backups[i].timeline);
  std::optional<std::size_t> last, first;
  std::map<TimelineId, std::size_t> firsts;
  for (std::size_t i = 0; i < backups.size() && finished[i] <= from; ++i) {
    last = i;
    if (backups[i].leads_to_newest) first = i;
    for (const TimelineId timeline : backups[i].leads_to)
      if (timelines.contains(timeline)) firsts[timeline] = i;
  }
  Lsn wal_from = backups.back().start_lsn;
  for (std::size_t i = 0; i < backups.size(); ++i) {
    const bool begins =
        i == first || i == last || std::ranges::any_of(firsts, [i](const auto& each) { return each.second == i; });
    if (!begins && finished[i] <= from) continue;
    decisions[i].reasons.push_back(begins ? "begin of the recovery window" : "recovery window");
    wal_from = std::min(wal_from, backups[i].start_lsn);
  }
  return wal_from;
}

// Each backup counts, whether it is damaged or not.
RetentionPlan plan_of(const std::vector<RetentionBackup>& backups, const RetentionRules& rules, WallTime now) {
  RetentionPlan plan;
  for (const RetentionBackup& backup : backups)
    plan.decisions.push_back({backup.label, {}});
  if (backups.empty()) return plan;
  plan.decisions.back().reasons.push_back("newest");
  for (std::size_t i = 0; i < backups.size(); ++i) {
    if (backups[i].pinned)
      plan.decisions[i].reasons.push_back(backups[i].why_pinned.empty() ? "pinned"
                                                                        : "pinned (" + backups[i].why_pinned + ")");
    if (backups.size() - i <= rules.last) plan.decisions[i].reasons.push_back("last " + std::to_string(rules.last));
  }
  keep_periods(backups, plan.decisions, rules.daily, "day", day_name);
  keep_periods(backups, plan.decisions, rules.weekly, "week", week_name);
  keep_periods(backups, plan.decisions, rules.monthly, "month", month_name);
  keep_periods(backups, plan.decisions, rules.yearly, "year", year_name);
  if (rules.pitr_window) {
    plan.wal_from = keep_window(backups, plan.decisions, *rules.pitr_window, now);
    return plan;
  }
  plan.wal_from = backups.back().start_lsn;
  for (std::size_t i = 0; i < backups.size(); ++i)
    if (plan.decisions[i].keep()) plan.wal_from = std::min(plan.wal_from, backups[i].start_lsn);
  return plan;
}

} // namespace

RetentionPlan plan_retention(const std::vector<RetentionBackup>& backups, const RetentionRules& rules, WallTime now) {
  if (!rules.any()) throw std::logic_error("retention without a rule");
  RetentionPlan plan = plan_of(backups, rules, now);
  std::vector<RetentionBackup> sound;
  std::ranges::copy_if(backups, std::back_inserter(sound),
                       [](const RetentionBackup& backup) { return !backup.damaged; });
  if (sound.empty() || sound.size() == backups.size()) return plan;
  const RetentionPlan instead = plan_of(sound, rules, now);
  plan.wal_from = std::min(plan.wal_from, instead.wal_from);
  auto decision = plan.decisions.begin();
  for (const RetentionDecision& wanted : instead.decisions) {
    while (decision->label != wanted.label)
      ++decision;
    if (decision->keep()) continue;
    for (const std::string& reason : wanted.reasons)
      decision->reasons.push_back(reason + " of those that are not damaged");
  }
  return plan;
}

} // namespace dbops::core
