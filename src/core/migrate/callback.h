// Callbacks: files that are executed at an event of Flyway's, beforeMigrate__x.sql.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dbops::core::migrate {

// The events of Flyway that this tool has.
const std::vector<std::string_view>& callback_events();

// A file that is no migration and no callback, up to its separator or suffix: whether it was meant to be a callback.
enum class EventMistake {
  none,
  absent,  // an event of Flyway that never happens here: beforeClean
  unknown, // beforeMigrat, beforemigrate, beforeDeploy
};
EventMistake event_mistake(std::string_view name);

// Of an absent one: why. Of an unknown one: which it may have been, and all that there are. For people.
std::string explain_event(std::string_view name);

} // namespace dbops::core::migrate
