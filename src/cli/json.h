// Rows of a result as JSON objects: the names of the columns, in their order, with values of their types.
#pragma once

#include "cli/connection.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace dbops::cli {

using Json = nlohmann::ordered_json;

// The first `columns` columns of a row; -1 for all.
Json row_as_json(const Result& result, int row, int columns = -1);

// All rows to standard output: one array of objects, one of them a line.
void print_rows(const Result& result);
void print_array(const std::vector<Json>& objects);

// On one line; bytes that are not UTF-8 (from a database in SQL_ASCII) as U+FFFD.
std::string dumped(const Json& json);

} // namespace dbops::cli
