// A piece of work: a range of one table and which of its stripes are still to be done. What dbops.job_slice.work and
// dbops.job_revisit.unit hold.
#pragma once

#include <nlohmann/json.hpp>

#include "server/backfill/spec.h"

namespace dbops::server::backfill {

// One text a key column, canonical_text(); of the first columns alone where a bound is between two of their values;
// empty: no bound.
using Key = std::vector<std::string>;

struct TidBound {
  std::uint32_t block = 0;
  std::uint16_t offset = 0;
};

struct Unit {
  Oid relation = InvalidOid;
  Order order = Order::key;
  Key after, upto;        // order key: after < key <= upto
  std::string key;        // whose identity is this
  TidBound from, to;      // order block: from <= ctid < to
  int stripes = 1;        // the range has this many, ...
  int next = 0, end = 1;  // ... of which [next, end) are to be done
  std::int64_t rows = 0;  // visited by all stripes together, estimated
  std::int64_t place = 0; // among those of the walk, from 1 on; of a later pass 0
  int tries = 0;          // in a row that failed because of locks
};

nlohmann::json to_json(const Unit& unit);
Unit unit_from_json(const nlohmann::json& json);

// The whole range of the unit's next stripe as a unit of its own, and what remains after it (nothing: next == end).
Unit first_stripe(const Unit& unit);

} // namespace dbops::server::backfill
