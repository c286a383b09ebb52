// Making jobs of batches: what dbops.backfill, dbops.batch_delete and what deletes by rules have in common. Inside a
// connection of SPI.
#pragma once

#include "server/arguments.h"
#include "server/backfill/spec.h"
#include "server/backfill/table.h"

namespace dbops::server::backfill {

// Reads target_batch_time to skip_triggers, in the order of their declaration in src/schema/backfill.sql.
void read_batch_options(Arguments& in, Spec& spec);

struct DeleteRequest {
  Oid target = InvalidOid;
  Oid owner = InvalidOid;
  std::string kind; // of the job
  Spec spec;        // with condition, settings and options; the rest is filled in
  int priority = 0;
};

struct DeletePlan {
  std::vector<Table> tables;
  double matching = 0; // rows, estimated
  std::vector<std::string> warnings;
};

// Checks everything, as the owner of the job; raises what is wrong with it.
DeletePlan plan_delete(DeleteRequest& request);
// Makes the job. Returns its number; it is announced at COMMIT.
std::int64_t make_delete_job(const DeleteRequest& request, const DeletePlan& plan);

} // namespace dbops::server::backfill
