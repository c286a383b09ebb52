// A deletion: a set of rows that were deleted together, and that are restored or purged together.
#pragma once

#include "server/soft_delete/rule.h"

namespace dbops::server::soft_delete {

struct Deletion {
  std::int64_t id = 0;
  std::string at; // timestamptz, as text
};

// Deletes one live row of the table and what refers to it ON DELETE CASCADE, under one deletion. All checks of the
// caller's privileges are done here. Raises P0002 when there is no such row.
Deletion remove_row(const Rule& rule, const std::vector<Value>& key);

enum class Loss {
  none,        // raises 22000
  of_rows,     // that are gone for good: a WARNING says how many
  of_anything, // ... and of what the table cannot take any more
};

// Restores exactly the rows of that deletion; returns how many.
std::int64_t restore(std::int64_t deletion, Loss loss);

// What the schedule of a table's purge runs: by its number, so that the table can be given another name.
std::string purge_command(Oid table);

// While rows are restored, live rows may refer to rows that follow (guard.cpp).
bool restoring() noexcept;

} // namespace dbops::server::soft_delete
