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

// At least so many rows are there, as their owner sees them: small tables are counted, of others a sample is taken, as
// what the statistics say may be of another time. Below `enough` they are counted as well.
double rows_of(const std::vector<backfill::Table>& tables, Oid owner, double enough);
// The maximum of a run over these tables: of both the smaller one. `by_estimate`: without reading them.
void set_maximum(backfill::Spec& spec, const Maximum& maximum, const std::vector<backfill::Table>& tables, Oid owner,
                 bool by_estimate = false);
// The job would delete that many rows, more than it may by a sample: the table is counted. False: it is more than its
// share of that, too.
bool allowed_by_count(const Job& job, backfill::Spec& spec, std::int64_t rows);

// The job would delete that many rows, which is more than it may: it is paused, and says what to do.
void stop_and_ask(std::int64_t job, const backfill::Spec& spec, std::int64_t rows);

// Somebody's word: a job that has stopped at its maximum goes on without one. False: it has not.
bool go_on_beyond_maximum(Job& job);

} // namespace dbops::server::lifecycle
