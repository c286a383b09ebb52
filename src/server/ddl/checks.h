// What must hold before an online DDL job is accepted. Each raises what is wrong, with a HINT. Needs a transaction.
#pragma once

#include "server/ddl/spec.h"

namespace dbops::server::ddl {

// A permanent table, materialized view or partitioned table that `owner` may alter: 42501, 42809, 0A000.
void require_table(Oid relation, Oid owner);
void require_owner(Oid relation, Oid owner);
// For what makes an index: CREATE on its schema.
void require_create(Oid table, Oid owner);
// No relation of that name in the table's schema, but an INVALID index of the table that is the same: 42P07.
void require_free_index_name(Oid table, const std::string& name, const Spec& spec);
void require_free_constraint_name(Oid table, const std::string& name);
// 42703 unless it is a column of the table.
void require_column(Oid table, const std::string& column);
// A unique index of a partitioned table has the partition key in it: 0A000. No foreign tables among the partitions.
void require_partition_key(Oid table, const std::vector<std::string>& keys, bool unique);
// Only NOT NULL columns, and no primary key yet: 55000, 42P16.
void require_primary_key_possible(Oid table, const std::vector<std::string>& keys);
// What ATTACH PARTITION would refuse after everything has been proved.
void require_attachable(Oid parent, Oid partition);
// No unfinished job of that kind for the same object: 55006.
void require_no_other_job(const std::string& kind, Oid target, const std::string& name);

} // namespace dbops::server::ddl
