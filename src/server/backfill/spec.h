// The arguments of a backfill or batch_delete, resolved: what dbops.job.spec holds.
#pragma once

#include <nlohmann/json.hpp>

#include "core/job/throttle.h"
#include "server/lifecycle/dependents.h"

namespace dbops::server::backfill {

enum class Order { key, block }; // what a chunk is a range of

struct Spec {
  bool erase = false; // batch_delete
  std::string table;  // schema.table of the target when the job was made, quoted
  std::string alias;  // by that name the texts may call its columns, in partitions and after a change of name as well
  std::string assignments;          // as typed; checked by the parser (input.h)
  std::string condition;            // may be empty
  std::vector<std::string> columns; // that are assigned, not quoted
  bool subqueries = false;          // the texts have some, so that planner settings would reach further than the batch
  Settings settings;                // search_path and formats of the session that made the job

  std::string strategy; // stripe, key or block
  Order order = Order::key;
  int stripes = 1;          // sub-batches of a chunk
  bool falsifiable = false; // a row that has been changed may be expected not to match the condition any more
  bool moving = false;      // deletes by a condition that rows come to match by themselves, as one with now()
  bool keyed = false;       // every table of the family has a usable key

  int target_ms = 100;
  std::int64_t max_batch_rows = 50'000;
  int lock_timeout_ms = 200;
  double nice_ratio = 0;
  std::optional<double> max_rows_per_second;
  std::optional<double> max_bytes_per_second;
  core::ThrottleLimits limits;
  std::string windows;  // empty: any time
  std::string timezone; // of the windows
  std::int64_t max_errors = 0;
  double vacuum_every = 0; // share of the table between two VACUUMs, 0 never
  bool skip_triggers = false;
  std::int64_t bytes_before = 0;
  // Keyed tables with more than this together are too long for one snapshot: 2 GB.
  std::int64_t snapshot_blocks = 262'144;

  // Of a run that deletes by a rule.
  std::int64_t rule = 0;                                           // dbops.retention_rule; 0: none
  std::string cutoff;                                              // timestamptz; rows from before it go
  std::string age_column;                                          // that the rule is about, quoted
  bool by_age = false;                                             // walks by it instead of a key alone
  lifecycle::Children children = lifecycle::Children::as_declared; // what becomes of rows that refer to deleted ones
  std::optional<std::int64_t> max_rows;                            // deleted; the run stops before it exceeds that
  std::optional<double> max_share; // max_rows comes from a sample of the table: this share of it, counted, counts
  std::optional<std::int64_t> given_rows; // ... and no more than that, whatever the share
  bool one_pass = false;                  // rows that are missed are for the next run
};

// A table as a statement of the job names it: "public.part AS target", or "public.target" for the target itself.
std::string named_table(const std::string& table, const Spec& spec);

nlohmann::json to_json(const Spec& spec);
Spec from_json(const nlohmann::json& json);

} // namespace dbops::server::backfill
