// Running the statements of a job on one table, as the owner of the job, inside a Session's transaction.
#pragma once

#include <map>
#include <unordered_map>

#include "server/backfill/statement.h"

extern "C" {
#include "executor/spi.h"
#include "utils/snapmgr.h"
}

namespace dbops::server::backfill {

struct BatchResult {
  std::int64_t rows = 0;           // changed
  std::int64_t dependent_rows = 0; // that went, or were changed, because they referred to deleted ones
  std::int64_t kept = 0;           // of these, rows that still match the condition
  std::int64_t moved = 0;          // of these, rows whose key has left the range
  std::uint64_t wal_bytes = 0;
  int waiters = 0; // sessions that wait for a row that this batch has locked
};

class BatchRunner {
 public:
  // target: whose family the tables are of; owner: runs as this role; job: for dbops.in_job.
  BatchRunner(const Spec& spec, Oid target, Oid owner, std::int64_t job);
  ~BatchRunner();
  BatchRunner(const BatchRunner&) = delete;
  BatchRunner& operator=(const BatchRunner&) = delete;

  // The description of a table, read once and again when it or an index of it was changed; nothing when it is gone, or
  // does not belong to the target any more. Raises 55P03 after lock_timeout.
  const Table* table(Oid relation);
  void forget(Oid relation) { tables_.erase(relation); }

  // Locks the table against changes of its definition, for the transaction, and describes it as it is under the lock;
  // nothing when it is gone or detached. Raises 55P03 after lock_timeout.
  const Table* lock_table(Oid relation);

  // Executes stripe unit.next of the unit's range.
  BatchResult run(const Table& table, const Unit& unit);
  // Deferred triggers of the batch run at COMMIT: they see what its other triggers saw.
  void keep_settings_until_commit() const;

  // The key n rows on (0: the first) in (after, upto]; nothing when there are not so many. Where the job walks by age,
  // it may be fewer rows on, and have the first column alone: of rows up to it, with that value included.
  std::optional<Key> nth_key(const Table& table, const Key& after, const Key& upto, std::int64_t n);
  std::optional<Key> last_key(const Table& table);
  // The row that halves the range, condition or not, and how many rows are in it; nothing when it has one row or none.
  struct Middle {
    Key key;
    std::int64_t rows;
  };
  std::optional<Middle> middle(const Table& table, const Unit& unit);
  std::string first_row(const Table& table, const Unit& unit); // as text: "(42)", or a ctid; empty: no row
  // Rows that match, as the active snapshot shows them: see under_one_snapshot().
  std::int64_t matching(const Table& table, std::int64_t limit);

 private:
  Statement statement_of(const Table& table, const Unit& unit, bool& with_dependents) const;
  [[nodiscard]] std::string kept_out(const Table& table) const;
  [[nodiscard]] const std::vector<lifecycle::Dependent>& dependents_of(Oid relation) const;
  SPIPlanPtr kept_plan(const Statement& statement);
  Rows select(const Statement& statement, const std::vector<std::string>& values);
  template <typename F>
  auto as_owner(const Settings& settings, F&& fn);

  const Spec& spec_;
  Oid target_;
  Oid owner_;
  Settings batch_settings_;      // for statements with the user's texts
  Settings dependent_settings_;  // the same, where rows of other tables go as well
  Settings range_settings_;      // for statements over keys
  Settings table_lock_settings_; // while the lock of the table is waited for
  void forget_plans() noexcept;
  std::map<Oid, Table> tables_;
  mutable std::map<Oid, std::vector<lifecycle::Dependent>> dependents_; // as of the same moment as tables_
  std::uint64_t tables_as_of_ = 0;                                      // invalidations of the relation cache
  std::unordered_map<std::string, SPIPlanPtr> plans_;                   // by statement
};

// Runs fn with a snapshot of this moment as the active one; an exception leaves it to the rollback.
template <typename F>
auto under_one_snapshot(F&& fn) {
  call_pg([] { PushActiveSnapshot(GetTransactionSnapshot()); });
  auto result = fn();
  call_pg([] { PopActiveSnapshot(); });
  return result;
}

} // namespace dbops::server::backfill
