// Rows of a result as JSON objects: the names of the columns, in their order, with values of their types.
#pragma once

#include "cli/connection.h"

#include <nlohmann/json.hpp>

#include <string>

namespace dbops::cli {

using Json = nlohmann::ordered_json;

// The first `columns` columns of a row; -1 for all.
Json row_as_json(const Result& result, int row, int columns = -1);

// On one line; bytes that are not UTF-8 (from a database in SQL_ASCII) as U+FFFD.
std::string dumped(const Json& json);

} // namespace dbops::cli
