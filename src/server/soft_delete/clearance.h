// What a purge waits for before it deletes anything: somebody's word after a restore or a leap of the clock, or when it
// would delete more of a table than its rule allows.
#pragma once

#include "server/soft_delete/rule.h"

namespace dbops::server::soft_delete {

// A purge of what was deleted from that table, as of one moment: `as_of` is a timestamptz as text.
struct PurgeScope {
  Oid target = InvalidOid;
  std::optional<std::string> older_than; // as interval's text; nothing: the grace period
  std::string as_of;
};

// What soft_deletion d must be to be due. $1, $2 and $3 are the three of parameters_of().
extern const char* const due_deletions;
std::vector<Value> parameters_of(const PurgeScope& scope);

// What speaks against purging now; noted, for dbops.soft_delete_status. Empty: nothing, and from here on the purge is
// the last one that is known to have run. Without a grace period (older_than) the caller has said himself how much is
// to go.
std::string objection_to_purge(const PurgeScope& scope);
// Somebody's word holds for one purge: until all that is due is marked, in the transaction of the last of it. A purge
// that ends before, with half of it marked, can begin again.
void spend_confirmation(const PurgeScope& scope);

// A rule that is made is of this server; one that comes with a dump is not.
void note_origin_of_new_rule(Oid target);
void forget_origin(Oid target);

} // namespace dbops::server::soft_delete
