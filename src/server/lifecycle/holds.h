// The one choke point of everything in dbops that deletes rows, and the legal holds that it keeps to (dbops.hold).
//
// A transaction that deletes calls begin_deleting() first, appends unheld() to the WHERE of its statement, and is done:
//   - begin_deleting() takes a lock that dbops.hold() waits for, so that once that function has returned nothing that
//   it
//     covers is deleted: a hold is either seen here, or waits until this transaction has ended.
//   - unheld() leaves out rows that are held, and rows whose deletion would take held ones with it.
//   - a guard in the executor raises 23001 for a held row that is deleted all the same: by a cascade, a trigger or a
//     function of the transaction, or after a change that the statement could not see; and for TRUNCATE, DROP and
//     DETACH that would take such a row along.
// What removes tables (a partition that has expired) calls begin_deleting() and require_no_held_rows().
#pragma once

#include "server/lifecycle/dependents.h"

namespace dbops::server::lifecycle {

// To the end of the transaction. Waits for a dbops.hold() that is being made, at most lock_timeout (55P03). May be
// called again; needs a connection of SPI. Before the snapshot of the statement that deletes is taken, which is what
// every statement at READ COMMITTED does by itself.
void begin_deleting();

// To the end of the transaction, every statement that deletes rows calls begin_deleting() by itself.
void keep_to_holds() noexcept;

// While it lives, every statement of this process that deletes rows calls begin_deleting() by itself: for statements of
// users that dbops runs. A held row raises 23001 then.
class GuardedDeletions {
 public:
  GuardedDeletions() noexcept;
  ~GuardedDeletions();
  GuardedDeletions(const GuardedDeletions&) = delete;
  GuardedDeletions& operator=(const GuardedDeletions&) = delete;

 private:
  bool outer_; // one lives already
};

// Nothing in this database is held. After begin_deleting().
bool nothing_is_held();

// What the WHERE of a statement that deletes rows of this table adds: " AND NOT dbops.is_held(t.tableoid, t.*)", and
// NOT EXISTS for held rows that foreign keys would delete or change with them. Empty when no hold concerns it. `alias`
// is the table's name in the statement, quoted. After begin_deleting().
std::string unheld(Oid relation, const std::string& alias, Children children = Children::as_declared);

// For who deletes whole rows or nothing: the condition that a held row would lose its reference to a row of this table,
// or to one that ON DELETE CASCADE deletes with it, by ON DELETE SET NULL or SET DEFAULT. Those that would be deleted
// the guard finds. Empty when no hold concerns it. After begin_deleting().
std::string changes_held(Oid relation, const std::string& alias);

// Whether a row of the table, as it is now, is held. Reads all of it when there is a hold with a condition. The hold,
// as "hold 7 (reason)"; empty: none. After begin_deleting(), and with a lock on the table against writers if it is to
// last. `also`: a table that it was part of until now, whose holds count as well; InvalidOid: none.
std::string hold_on_rows(Oid relation, Oid also = InvalidOid);

// hold_on_rows() has found nothing under a lock that keeps writers away: to the end of this transaction the table, with
// its partitions, may be dropped, though rows of a dropped table cannot be asked.
void allow_to_drop(Oid relation);

// For PostgreSQL's code: raises 23001 when the table has rows that a hold on it, or on the parent that it is to leave,
// covers. In a transaction.
void require_detachable(Oid child, Oid parent);

// For dbops.hold(): waits for all transactions that delete, and keeps others waiting to the end of this one.
void lock_for_new_hold();

} // namespace dbops::server::lifecycle

namespace dbops::server {
void install_deletion_guard(); // in _PG_init
}
