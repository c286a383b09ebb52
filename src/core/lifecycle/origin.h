// Whether the server that is about to delete by a rule is the one, with the clock, that the rule was last run by. After
// a restore, and after a leap of the clock, more rows look expired than anybody has meant.
#pragma once

#include <cstdint>
#include <string>

namespace dbops::core {

struct Origin {
  std::uint64_t system = 0;   // system identifier of the cluster
  std::uint32_t timeline = 0; // of its WAL; another one after each recovery to a point in time and each promotion
  std::string instance;       // of the data directory; a copy has another one
  std::string boot;           // of the machine; empty: not known
  double clock = 0;           // seconds since 1970
  double uptime = 0;          // seconds since that boot, by a clock that nobody sets
  double ahead = 0;           // seconds by which the clock was set forward, see clock_record.h
};

// How far the clock may have been set forward between two runs, beyond the time that has passed.
inline constexpr double allowed_leap = 300; // seconds

// What speaks against going on without somebody's word; empty: nothing. A clock that was set back is no objection: less
// is expired then. Without a common boot it is what the server has noted of its clock meanwhile.
std::string objection(const Origin& known, const Origin& now);

} // namespace dbops::core
