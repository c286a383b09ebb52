#include "core/migrate/callback.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace dbops::core::migrate {

namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> absent_events{{
    {"beforeClean", "there is no command clean"},
    {"afterClean", "there is no command clean"},
    {"afterCleanError", "there is no command clean"},
    {"afterCleanOperationFinish", "there is no command clean"},
    {"createSchema", "dbops creates no schemas; a migration can"},
    {"beforeCreateSchema", "dbops creates no schemas; a migration can"},
    {"beforeConnect", "SQL is executed when there is a connection; beforeMigrate comes first"},
}};

const std::pair<std::string_view, std::string_view>* find_absent(std::string_view name) {
  const auto* found = std::find_if(absent_events.begin(), absent_events.end(),
                                   [name](const auto& event) { return event.first == name; });
  return found == absent_events.end() ? nullptr : found;
}

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// How many letters have to be put in, taken out or replaced; their case does not count.
std::size_t distance(std::string_view left, std::string_view right) {
  std::vector<std::size_t> row(right.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < left.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < right.size(); ++j) {
      const std::size_t replaced = diagonal + (lower(left[i]) == lower(right[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

// Empty: none is near.
std::string_view nearest_event(std::string_view name) {
  constexpr std::size_t typing_errors = 2;
  std::string_view nearest;
  if (name.size() > 64) return nearest; // the longest event has 30 letters
  std::size_t best = typing_errors + 1;
  for (const std::string_view event : callback_events()) {
    const std::size_t far = distance(name, event);
    if (far >= best) continue;
    best = far;
    nearest = event;
  }
  return nearest;
}

// "beforeDeploy", not "before_release" or "afterthought".
bool written_like_event(std::string_view name) {
  for (const std::string_view start : {"before", "after"})
    if (name.size() > start.size() && name.starts_with(start) && name[start.size()] >= 'A' && name[start.size()] <= 'Z')
      return true;
  return false;
}

} // namespace

const std::vector<std::string_view>& callback_events() {
  static const std::vector<std::string_view> events{"beforeMigrate",
                                                    "afterMigrate",
                                                    "afterMigrateApplied",
                                                    "afterMigrateError",
                                                    "afterMigrateOperationFinish",
                                                    "beforeEachMigrate",
                                                    "afterEachMigrate",
                                                    "afterEachMigrateError",
                                                    "beforeRepeatables",
                                                    "afterVersioned",
                                                    "beforeValidate",
                                                    "afterValidate",
                                                    "afterValidateError",
                                                    "afterValidateOperationFinish",
                                                    "beforeUndo",
                                                    "afterUndo",
                                                    "afterUndoError",
                                                    "afterUndoOperationFinish",
                                                    "beforeEachUndo",
                                                    "afterEachUndo",
                                                    "afterEachUndoError",
                                                    "beforeBaseline",
                                                    "afterBaseline",
                                                    "afterBaselineError",
                                                    "afterBaselineOperationFinish",
                                                    "beforeRepair",
                                                    "afterRepair",
                                                    "afterRepairError",
                                                    "afterRepairOperationFinish",
                                                    "beforeInfo",
                                                    "afterInfo",
                                                    "afterInfoError",
                                                    "afterInfoOperationFinish",
                                                    "beforeEachMigrateStatement",
                                                    "afterEachMigrateStatement",
                                                    "afterEachMigrateStatementError",
                                                    "beforeEachUndoStatement",
                                                    "afterEachUndoStatement",
                                                    "afterEachUndoStatementError"};
  return events;
}

EventMistake event_mistake(std::string_view name) {
  if (find_absent(name) != nullptr) return EventMistake::absent;
  return written_like_event(name) || !nearest_event(name).empty() ? EventMistake::unknown : EventMistake::none;
}

std::string explain_event(std::string_view name) {
  if (const auto* absent = find_absent(name)) return std::string(absent->second);
  const std::string_view nearest = nearest_event(name);
  std::string text = nearest.empty() ? "" : "is it " + std::string(nearest) + "? ";
  text += "There are";
  for (const std::string_view event : callback_events()) {
    text += ' ';
    text += event;
  }
  return text;
}

} // namespace dbops::core::migrate
