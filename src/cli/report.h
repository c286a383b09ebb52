// Failures, as the user reads them.
#pragma once

#include "cli/connection.h"

#include <cstdint>
#include <exception>
#include <stdexcept>

namespace dbops::cli {

// To standard error: message, and detail and hint where there are some. about: what it was for, e.g. "job 12"; or
// empty.
void report(const std::exception& failure, const std::string& about = {});

// The views show nothing of jobs that one may not see: to the caller they do not exist.
std::runtime_error no_such_job(std::int64_t job, const Connection& connection);

} // namespace dbops::cli
