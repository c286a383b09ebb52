// All repositories of a cluster together, as recovery sees them.
#pragma once

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/wal/restore_file.h"
#include "core/wal/wal_reader.h"

#include <functional>
#include <vector>

namespace dbops::core {

// A repository that could not be asked, or whose copy is damaged.
struct RepositoryFailure {
  const WalReader* repository = nullptr;
  Error error;
};

// How long what may pass by itself is waited for.
struct RecoveryPatience {
  milliseconds outage = std::chrono::minutes(5); // no repository can be asked
  milliseconds gap = std::chrono::seconds(30);   // a segment is missing that later WAL shows to have been: on its way?
  milliseconds first_pause = milliseconds(200);  // doubles with each round ...
  milliseconds max_pause = milliseconds(5000);   // ... up to this
};

class ArchiveReader {
 public:
  // Told of failures that another repository made up for. May be empty.
  using FailureSink = std::function<void(const RepositoryFailure&)>;

  // repositories: at least one, asked in this order; must outlive the reader, as must clock and random.
  ArchiveReader(std::vector<WalReader*> repositories, Clock& clock, Random& random, FailureSink on_failure = {});

  // Asks each repository until one has the whole file. One that fails, or whose copy is damaged (which is fetched twice
  // more), does not matter when another has the file. "absent", "padded" and "gap" are the word of all of them: padded
  // takes the longest beginning that one has, and later WAL in any of them makes a gap.
  // The content is in `out`, not committed. Throws the gravest failure, naming all.
  WalFetchResult fetch(const WalFileName& file, RestoreFile& out, const CallContext& context,
                       AtHole at_hole = AtHole::report);

  // What all of them have behind the segment. As WalReader::later_wal(); again and again as fetch_patiently().
  LaterWal later_wal(const WalFileName& segment, bool all, const RecoveryPatience& patience,
                     const CallContext& context);
  // Of what the last fetch() found to be padded: bytes that are not padding.
  [[nodiscard]] std::uint64_t covered() const { return covered_; }

  // fetch(), again and again while repositories are unavailable or there is a gap, within the bounds of `patience`.
  WalFetchResult fetch_patiently(const WalFileName& file, RestoreFile& out, const RecoveryPatience& patience,
                                 const CallContext& context, AtHole at_hole = AtHole::report);

 private:
  struct Round;
  struct Pauses;
  template <typename Work>
  auto through_outages(Pauses& pauses, const Work& work);
  void ask(WalReader& repository, const WalFileName& file, RestoreFile& out, Round& round, const CallContext& context,
           AtHole at_hole);

  std::vector<WalReader*> repositories_;
  Clock& clock_;
  Random& random_;
  FailureSink on_failure_;
  std::uint64_t covered_ = 0;
};

} // namespace dbops::core
