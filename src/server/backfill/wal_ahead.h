// Makes the WAL segments that a job will fill before anybody needs them.
#pragma once

#include <cstdint>
#include <optional>

namespace dbops::server::backfill {

// At the end of a WAL segment whoever writes next opens the following one. When no old segment has been recycled under
// its name it has to be made: 16 MB of zeros and an fsync, a tenth of a second or more, while every commit of the
// server waits. Checkpoints keep as many as the usual load takes; a job takes many times that. So it makes its own,
// between two batches, when nobody waits for it.
class WalAhead {
 public:
  // The number of a segment that the job will need soon and that is not there. bytes: WAL that the job has written up
  // to now; a small one needs no segment of its own. Nothing on a disk that is nearly full. Raises nothing.
  [[nodiscard]] std::optional<std::uint64_t> missing(std::uint64_t bytes);

 private:
  std::uint64_t ready_ = 0; // segments below this one are known to be there
};

// Zeroes, fsyncs and installs it. Another process may do so at the same time. Raises when the disk is full or fails.
void make_wal_segment(std::uint64_t number);

} // namespace dbops::server::backfill
