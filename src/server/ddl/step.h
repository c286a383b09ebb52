// What an online DDL job does next. It is found by looking at the catalog, so that a crash at any point needs no
// memory: what is there is not done again, what was left half done is removed first.
#pragma once

#include "server/ddl/spec.h"
#include "server/engine/job_record.h"

namespace dbops::server::ddl {

// The strongest lock that a step takes on its relations.
enum class Lock { access_exclusive, share_row_exclusive, share, share_update_exclusive };
const char* to_string(Lock lock); // "ACCESS EXCLUSIVE"

// What a step leaves, so that it can be taken back.
enum class Makes { nothing, index, constraint, reindex, drop };
const char* to_string(Makes makes);

struct Step {
  std::vector<std::string> statements; // in one transaction
  bool top_level = false;              // one statement, outside of transactions
  Lock lock = Lock::access_exclusive;
  std::vector<Oid> relations; // that are locked
  std::string names;          // of them, when the step was planned
  Makes makes = Makes::nothing;
  Oid relation = InvalidOid; // the table; of drop the index
  std::string name;          // of what it makes, not quoted
  Oid object = InvalidOid;   // reindex: the old index
  std::string tablespace;
  Oid same_leaves_of = InvalidOid; // a partitioned table that must still have these leaves when the locks are taken
  std::vector<Oid> leaves;
  std::string waits_for; // not empty: nothing can be done before that has ended
};

// Needs a transaction, as the job's owner. Nothing: the job is done. Raises when it never can be.
std::optional<Step> next_step(const Job& job, const Spec& spec);

// A table that is to have valid constraints; used by several kinds.
// NOT VALID, then VALIDATE of each leaf and of the table. Nothing: it is there and valid. FOREIGN KEY: `other` is
// locked too.
std::optional<Step> next_of_valid_constraint(Oid table, const std::string& name, const std::string& definition,
                                             Oid other);
// An INVALID index that an earlier step of the job has left; nothing when there is none.
std::optional<Step> drop_own_leftover(const Job& job);

// By kind of job.
std::optional<Step> next_of_index(const Job& job, const Spec& spec);   // create_index, add_unique
std::optional<Step> next_of_reindex(const Job& job, const Spec& spec); // reindex
std::optional<Step> next_of_drop(const Job& job, const Spec& spec);    // drop_index
std::optional<Step> next_of_constraint(const Job& job,
                                       const Spec& spec);             // add_check, set_not_null, validate, foreign key
std::optional<Step> next_of_attach(const Job& job, const Spec& spec); // attach_partition
std::optional<Step> next_of_clean_up(const Job& job, const Spec& spec); // clean_up

} // namespace dbops::server::ddl
