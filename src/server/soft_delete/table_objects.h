// What a table with soft delete has besides its indexes: columns, triggers, the view of live rows.
#pragma once

#include "server/soft_delete/rule.h"

namespace dbops::server::soft_delete {

// deleted_at, deleted_by, deletion_id. Raises 42701 when one is there with another type.
void add_columns(const Rule& rule);

// On the table and each partition: TRUNCATE of a partition does not fire its parent's.
void refuse_truncate(const Rule& rule);
void make_column_triggers(const Rule& rule);
void make_tombstone_trigger(const Rule& rule);

// No live row refers to a deleted one: triggers of the tables that refer to this one, and its own. Raises 42501 without
// the privilege TRIGGER.
void guard_foreign_keys(const Rule& rule);
// The triggers that this table has as a child, when it has no soft delete any more.
void guard_foreign_keys_of_child(const Rule& rule);

void drop_triggers(const Rule& rule);

// As schema.view; nothing when there is none (any more).
std::optional<std::string> view_of(const Rule& rule);
// With the caller's rights (security_invoker), so that row-level security of the table holds in it. Whoever may read or
// write the table may do so through it.
void make_live_view(const Rule& rule);

} // namespace dbops::server::soft_delete
