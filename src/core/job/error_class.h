// What an error in a batch means for the job, by SQLSTATE.
#pragma once

#include <string_view>

namespace dbops::core {

enum class ErrorClass {
  contention, // lock not available, deadlock, serialization failure: nothing wrong, try again (40xxx, 55P03)
  resource,   // out of disk, memory, connections; standby conflict; try again later, then fail (53xxx, 58030, 57P03 ...)
  interrupted, // cancel of the statement (57014 query_canceled): look at the job's state
  row,        // a row's own fault: data exceptions, constraint violations, RAISE in a trigger (22, 23, 44, P0, 21, 2F, 38, 39, and unknown classes)
  statement,  // the statement or the catalog: no try helps until a person acts (42, 0A, 25, 26, 28, 3D, 3F, XX, 54 ...)
};

// sqlstate: five characters.
ErrorClass classify(std::string_view sqlstate) noexcept;
std::string_view to_string(ErrorClass error_class) noexcept;

} // namespace dbops::core
