// What was deleted without a job of its own, for dbops.deletions.
#pragma once

#include <chrono>

#include "server/engine/bookkeeping.h"
#include "server/engine/session.h"

namespace dbops::server::lifecycle {

// Of one table, by one call. There is a row as soon as something was deleted; it says what is committed.
class DeletionRecord {
 public:
  // `owner`: as whom rows go; `condition`: which ones, for people.
  DeletionRecord(Oid table, std::string table_name, Oid owner, std::string condition)
      : table_(table), table_name_(std::move(table_name)), owner_(owner), condition_(std::move(condition)) {}

  // In the transaction that has deleted them.
  void add(std::int64_t rows, const std::string& first_key, const std::string& last_key);
  // All is done, or an error has ended it; in transactions of their own. What cannot be written then is passed over:
  // the record of the session that has gone is shown as cancelled.
  void finish(Session& session);
  void finish(Session& session, const SqlError& error) noexcept;

 private:
  void finish(const char* state, const Value& error) const;

  Oid table_;
  std::string table_name_;
  Oid owner_;
  std::string condition_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::int64_t id_ = 0; // 0: nothing was deleted so far
};

// Keeps them for dbops.history_retention days.
void prune_deletion_records();

} // namespace dbops::server::lifecycle
