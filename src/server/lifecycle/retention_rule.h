// Rules that say how long rows are kept: dbops.retention_rule. Every function needs a transaction with SPI connected.
#pragma once

#include <set>

#include "server/lifecycle/maximum.h"

namespace dbops::server::lifecycle {

enum class Partitions {
  drop,   // one that has expired as a whole is detached and dropped
  detach, // ... detached, and left as a table
  rows,   // rows are deleted, whatever they are in
};
std::optional<Partitions> partitions_policy(std::string_view name);
const char* name_of(Partitions partitions);

struct Rule {
  std::int64_t id = 0;
  Oid target = InvalidOid;
  std::string target_name;
  int column = 0; // its number
  Oid owner = InvalidOid;
  std::string keep; // an interval, as text
  Partitions partitions = Partitions::drop;
  Maximum maximum;          // of one run
  double restore_grace = 0; // seconds
  std::string schedule;     // with its time zone and priority, as given
  std::string timezone;
  int priority = 0;
  std::int64_t schedule_job = 0; // 0: none, in a copy of the database
  std::string options;           // of its batches: a Spec as JSON
};

// Locks the row. Raises 42704 when it is not there.
Rule lock_rule(std::int64_t id);
Rule read_rule(std::int64_t id); // without the lock
std::optional<Rule> lock_rule_of(Oid target, int column);

// Raises 42501 unless the current user is a member of the owner's role or of dbops_admin, or owns the table.
void require_control(const Rule& rule);

// Why the rule has nothing to do any more: its table or its column was dropped. Empty: both are there.
std::string end_of(const Rule& rule);
// Quoted; raises 42P01, 42703 when the table or the column is gone.
std::string column_of(const Rule& rule);

// Of a partitioned table, whole ones that have expired.
bool drops_partitions(const Rule& rule);

// What is from before that is expired now.
struct Cutoff {
  std::string at;       // timestamptz
  std::string constant; // of the column's type, as an expression: "'2026-01-01'::pg_catalog.date"
  std::string value;    // its text alone
  std::string type;     // "pg_catalog.date"
};
// Under the rule's time zone. Raises 22023 unless the column's type is one that tells a time.
Cutoff cutoff_of(const Rule& rule, const Settings& settings);

// The condition that expired rows match.
std::string expired(const std::string& column, const Cutoff& cutoff);

// See doubt.h. The rule waits for dbops.confirm_retention or for its grace period.
std::string doubt(const Rule& rule);
void settle_origin(const Rule& rule);

// Whether a run under way, which began with that cutoff, still does what the rule says: gone, given to another role, or
// keeping rows for longer, by the clock as it is now, it must end. Locks the rule against changes. Empty: nothing.
std::string objection_of_rule(std::int64_t rule, Oid owner, const std::string& cutoff);

// Keeps the newest runs of each rule, dbops.run_history of them, and what is known of partitions for
// dbops.history_retention days after they have gone.
void prune_runs();

// Members of a partitioned table in which by their bounds no row can be from before the cutoff.
std::set<Oid> too_young(Oid target, const backfill::Spec& spec);

} // namespace dbops::server::lifecycle
