// Deletions that wait for somebody's word: what the operator has to know about, for dbops.check().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dbops::server::lifecycle {

struct Waiting {
  std::string name; // "purge of public.t", "retention of public.t", "job 7 on public.t"
  std::string why, remedy;
};

struct WaitingDeletions {
  std::vector<Waiting> waiting; // by name
  std::int64_t rules = 0;       // of soft delete and retention, those that do not wait too
};

// Of this database, whoever asks. Outside of SPI.
WaitingDeletions waiting_deletions();

} // namespace dbops::server::lifecycle
