// Claiming the next chunk of a job from its one cursor, so that any number of workers share the range without gaps or
// overlaps. Inside a Session's transaction; the cursor's row is locked until its end.
#pragma once

#include <set>

#include "server/backfill/batch.h"
#include "server/engine/job_record.h"

namespace dbops::server::backfill {

struct Cursor {
  int pass = 0;         // 0 the main pass, then sweeps
  std::string strategy; // as shown: stripe, key, block
  Order order = Order::key;
  nlohmann::json position;
  std::int64_t pass_rows = 0;
};

// Raises 55000 unless the table still has the key of that identity (table.h), which ranges of keys are in the order of.
void require_key(const Table& table, const std::string& identity);

Cursor lock_cursor(std::int64_t job);
void store_cursor(std::int64_t job, const Cursor& cursor);

// How big and how striped the next chunk should be.
struct ChunkWish {
  std::int64_t rows_per_batch;
  int stripes; // at most; a small table gets fewer
};

// Moves the cursor over the next chunk; nothing when the pass has come to its end. Raises 42P01 when the table was
// dropped. Tables in `left_out` are passed over.
std::optional<Unit> claim(BatchRunner& runner, const Job& job, Cursor& cursor, const ChunkWish& wish,
                          const std::set<Oid>& left_out = {});

} // namespace dbops::server::backfill
