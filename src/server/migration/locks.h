// What statements of a migration will lock, and who holds locks that stand in the way.
#pragma once

#include <chrono>

#include "server/ddl/step.h"
#include "server/migration/callbacks.h"
#include "server/migration/history.h"
#include "server/migration/script.h"

namespace dbops::server::migration {

struct NeededLock {
  Oid relation = InvalidOid;
  ddl::Lock lock = ddl::Lock::access_exclusive;
};

// The locks of SHARE UPDATE EXCLUSIVE and above that the statements ask for on relations that are there now, as far as
// their texts and the catalog tell: what functions and DO blocks do is not seen, nor are names without a schema behind
// what moves names; names_moved: something before `first` has. Takes no lock itself. Of statements outside of
// transactions only those that shut others out.
std::vector<NeededLock> needed_locks(const ScriptStatement* first, const ScriptStatement* last, bool names_moved);

// Sessions and prepared transactions, older than that, which hold a lock that conflicts with one of these; empty: none.
std::string in_the_way(const std::vector<NeededLock>& locks, std::chrono::milliseconds older_than);

// Whether to try what transactions that are older than lock_timeout stand in the way of.
enum class IfHeldUp { try_it, report, fail };

// Who holds these statements up: transactions older than that.
std::string held_up_by(const ScriptStatement* first, const ScriptStatement* last, const Callbacks& callbacks,
                       int lock_timeout_ms);
// The attempt ends with that.
void fail_as_held_up(Attempt& attempt, const std::string& who);

} // namespace dbops::server::migration
