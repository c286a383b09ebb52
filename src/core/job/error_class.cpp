#include "core/job/error_class.h"

#include <algorithm>
#include <array>

namespace dbops::core {

namespace {

struct Entry {
  std::string_view code; // five characters, or the two of a class
  ErrorClass error_class;
};

// PostgreSQL, errcodes.txt. Codes that differ from the rest of their class.
constexpr std::array exceptions{
    Entry{"40002", ErrorClass::row},        // transaction_integrity_constraint_violation
    Entry{"54000", ErrorClass::row},        // program_limit_exceeded: a row too big for a page or an index
    Entry{"55006", ErrorClass::contention}, // object_in_use
    Entry{"55P03", ErrorClass::contention}, // lock_not_available
    Entry{"57P03", ErrorClass::resource},   // cannot_connect_now
    Entry{"58030", ErrorClass::resource},   // io_error
};

// A class that is in neither list is a row's: it comes from a trigger, a cast or a user's RAISE ... USING ERRCODE.
constexpr std::array classes{
    Entry{"08", ErrorClass::resource},    // connection exception: a trigger that writes to another server
    Entry{"0A", ErrorClass::statement},   // feature not supported
    Entry{"0B", ErrorClass::statement},   // invalid transaction initiation
    Entry{"24", ErrorClass::statement},   // invalid cursor state
    Entry{"25", ErrorClass::statement},   // invalid transaction state, read-only among them
    Entry{"26", ErrorClass::statement},   // invalid SQL statement name
    Entry{"28", ErrorClass::statement},   // invalid authorization specification
    Entry{"2B", ErrorClass::statement},   // dependent privilege descriptors still exist
    Entry{"2D", ErrorClass::statement},   // invalid transaction termination: COMMIT in a trigger
    Entry{"34", ErrorClass::statement},   // invalid cursor name
    Entry{"3B", ErrorClass::statement},   // savepoint exception
    Entry{"3D", ErrorClass::statement},   // invalid catalog name
    Entry{"3F", ErrorClass::statement},   // invalid schema name
    Entry{"40", ErrorClass::contention},  // transaction rollback
    Entry{"42", ErrorClass::statement},   // syntax error or access rule violation
    Entry{"53", ErrorClass::resource},    // insufficient resources
    Entry{"54", ErrorClass::statement},   // program limit exceeded
    Entry{"55", ErrorClass::statement},   // object not in prerequisite state
    Entry{"57", ErrorClass::interrupted}, // operator intervention: cancel, shutdown, database dropped
    Entry{"58", ErrorClass::statement},   // system error: a file of the table is missing
    Entry{"XX", ErrorClass::statement},   // internal error, data corruption
};

} // namespace

ErrorClass classify(std::string_view sqlstate) noexcept {
  if (sqlstate.size() != 5) return ErrorClass::row;
  const auto exact = std::ranges::find(exceptions, sqlstate, &Entry::code);
  if (exact != exceptions.end()) return exact->error_class;
  const auto found = std::ranges::find(classes, sqlstate.substr(0, 2), &Entry::code);
  return found != classes.end() ? found->error_class : ErrorClass::row;
}

std::string_view to_string(ErrorClass error_class) noexcept {
  switch (error_class) {
  case ErrorClass::contention:
    return "contention";
  case ErrorClass::resource:
    return "resource";
  case ErrorClass::interrupted:
    return "interrupted";
  case ErrorClass::row:
    return "row";
  case ErrorClass::statement:
    return "statement";
  }
  return "unknown";
}

} // namespace dbops::core
