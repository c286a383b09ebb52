#include "cli/report.h"

#include "core/base/error.h"

#include <fmt/format.h>

#include <cstdio>

namespace dbops::cli {

namespace {

std::string hint_of(const SqlError& error) {
  if (!error.hint().empty() || !error.lacks_extension()) return error.hint();
  return "The extension dbops is not in this database, or of another version than this command: CREATE EXTENSION "
         "dbops;";
}

} // namespace

void report(const std::exception& failure, const std::string& about) {
  fmt::print(stderr, "dbops: {}{}{}\n", about, about.empty() ? "" : ": ", failure.what());
  if (const auto* error = dynamic_cast<const core::Error*>(&failure); error != nullptr && !error->hint().empty())
    fmt::print(stderr, "HINT:  {}\n", error->hint());
  const auto* error = dynamic_cast<const SqlError*>(&failure);
  if (error == nullptr) return;
  if (!error->detail().empty()) fmt::print(stderr, "DETAIL:  {}\n", error->detail());
  if (const std::string hint = hint_of(*error); !hint.empty()) fmt::print(stderr, "HINT:  {}\n", hint);
}

std::runtime_error no_such_job(std::int64_t job, const Connection& connection) {
  return std::runtime_error(
      fmt::format("job {} does not exist in database \"{}\", or you may not see it", job, connection.database()));
}

} // namespace dbops::cli
