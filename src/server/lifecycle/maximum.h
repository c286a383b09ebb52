// How many rows one job may delete: beyond that it stops and asks.
#pragma once

#include "server/arguments.h"
#include "server/backfill/spec.h"
#include "server/backfill/table.h"
#include "server/engine/job_record.h"

namespace dbops::server::lifecycle {

struct Maximum {
  std::optional<std::int64_t> rows;
  std::optional<double> share; // of the table as it is when the job is made
};
// Reads max_rows and max_share, which follow one another in declarations; raises 22023 for what they cannot be.
Maximum read_maximum(Arguments& in);

// An estimate; small tables are counted, as their owner.
double rows_of(const std::vector<backfill::Table>& tables, Oid owner);
// Of both the smaller one; nothing: no limit.
std::optional<std::int64_t> most_rows(const Maximum& maximum, const std::vector<backfill::Table>& tables, Oid owner);

// The job would delete that many rows, which is more than it may: it is paused, and says what to do.
void stop_and_ask(std::int64_t job, const backfill::Spec& spec, std::int64_t rows);

// Somebody's word: a job that has stopped at its maximum goes on without one. False: it has not.
bool go_on_beyond_maximum(Job& job);

} // namespace dbops::server::lifecycle
