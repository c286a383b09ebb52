// What an error in a batch means for the job, by SQLSTATE.
#pragma once

#include <string_view>

namespace dbops::core {

enum class ErrorClass {
  // Lock not available, object in use, deadlock, serialization failure: nothing wrong, try again (40, 55P03, 55006).
  contention,
  // Out of disk, memory or connections; another server cannot be reached: try later, then fail (53, 08, 58030, 57P03).
  resource,
  // Cancel of the statement, time-out of a statement, shutdown (57): look at the job's state.
  interrupted,
  // A row's own fault: data exceptions, constraint violations, RAISE in a trigger (22, 23, 44, P0, 21, 2F, 38, 39,
  // 40002, and unknown classes).
  row,
  // The statement, the catalog or a damaged table: no try helps until a person acts (42, 0A, 25, 26, 28, 3D, 3F, 54,
  // 55,
  // 58, XX ...).
  statement,
};

// sqlstate: five characters; anything else is `row`.
ErrorClass classify(std::string_view sqlstate) noexcept;
std::string_view to_string(ErrorClass error_class) noexcept;

} // namespace dbops::core
