#include "core/wal/archive_reader.h"

#include <algorithm>
#include <stdexcept>

namespace dbops::core {

namespace {

constexpr int attempts_at_damage = 3;

// The higher, the less another try helps.
int gravity(ErrorKind kind) {
  switch (kind) {
  case ErrorKind::cancelled:
    return 4;
  case ErrorKind::unavailable:
    return 0;
  case ErrorKind::io:
    return 1;
  case ErrorKind::corrupt:
    return 2;
  default: // permission, configuration, keys: somebody has to act
    return 3;
  }
}

// What every repository says goes into the message; the kind and the hint are those of the gravest.
[[noreturn]] void throw_gravest(const std::vector<RepositoryFailure>& failures) {
  const auto gravest = std::ranges::max_element(
      failures, {}, [](const RepositoryFailure& failure) { return gravity(failure.error.kind()); });
  std::string text = gravest->error.what();
  for (auto failure = failures.begin(); failure != failures.end(); ++failure)
    if (failure != gravest) text += std::string("; ") + failure->error.what();
  throw Error(gravest->error.kind(), text, gravest->error.hint());
}

} // namespace

// What the repositories have said so far.
struct ArchiveReader::Round {
  std::vector<RepositoryFailure> failures;
  bool whole = false, gap = false;
  std::uint64_t pieces_to = 0;  // gaps are none when one has the segment up to this
  WalReader* longest = nullptr; // of those that have a beginning
  std::uint64_t covered = 0;    // by it
  WalReader* written = nullptr; // whose content is in the file
};

ArchiveReader::ArchiveReader(std::vector<WalReader*> repositories, Clock& clock, Random& random, FailureSink on_failure)
    : repositories_(std::move(repositories)), clock_(clock), random_(random), on_failure_(std::move(on_failure)) {
  if (repositories_.empty()) throw std::logic_error("no repository to read from");
}

void ArchiveReader::ask(WalReader& repository, const WalFileName& file, RestoreFile& out, Round& round,
                        const CallContext& context, AtHole at_hole) {
  for (int attempt = 1;; ++attempt) {
    out.restart();
    try {
      const WalFetch fetched = repository.fetch(
          file, [&out](ByteView bytes) { out.write(bytes); }, context, at_hole);
      round.whole = fetched.result == WalFetchResult::whole;
      round.gap |= fetched.result == WalFetchResult::gap && fetched.pieces_to == 0;
      round.pieces_to = std::max(round.pieces_to, fetched.pieces_to);
      if (fetched.result == WalFetchResult::padded && (round.longest == nullptr || fetched.covered > round.covered)) {
        round.longest = &repository;
        round.covered = fetched.covered;
      }
      round.written = &repository;
      return;
    } catch (const RestoreFileError&) { // not of the repository
      throw;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::cancelled) throw;
      if (error.kind() == ErrorKind::corrupt && attempt < attempts_at_damage) continue;
      round.failures.push_back({&repository, error});
      return;
    }
  }
}

WalFetchResult ArchiveReader::fetch(const WalFileName& file, RestoreFile& out, const CallContext& context,
                                    AtHole at_hole) {
  Round round;
  covered_ = 0;
  for (WalReader* repository : repositories_) {
    ask(*repository, file, out, round, context, at_hole);
    if (!round.whole) continue;
    if (on_failure_)
      for (const RepositoryFailure& failure : round.failures)
        on_failure_(failure);
    return WalFetchResult::whole;
  }
  if (!round.failures.empty()) throw_gravest(round.failures);
  if (round.gap || round.pieces_to > round.covered) return WalFetchResult::gap;
  if (round.longest == nullptr) return WalFetchResult::absent;
  covered_ = round.covered;
  if (round.longest == round.written) return WalFetchResult::padded;
  Round again;
  ask(*round.longest, file, out, again, context, at_hole);
  if (!again.failures.empty()) throw_gravest(again.failures);
  if (again.whole) return WalFetchResult::whole;
  return again.longest != nullptr ? WalFetchResult::padded : WalFetchResult::gap;
}

// Of one call, however often it is made.
struct ArchiveReader::Pauses {
  const ArchiveReader& archive;
  const RecoveryPatience& patience;
  const CallContext& context;
  std::optional<SteadyTime> since{}, gap_since{};
  milliseconds bound = patience.first_pause;

  // Between half the bound and all of it: standbys that lost their store together do not come back together.
  milliseconds next() {
    const milliseconds pause(std::int64_t(double(bound.count()) * (0.5 + archive.random_.uniform() / 2)));
    if (!since) since = archive.clock_.steady_now();
    return pause;
  }
  void sleep(milliseconds pause) {
    archive.clock_.sleep_for(pause, context.stop);
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "cancelled");
    bound = std::min(bound * 2, patience.max_pause);
  }
};

template <typename Work>
auto ArchiveReader::through_outages(Pauses& pauses, const Work& work) {
  for (;;) {
    std::optional<Error> outage;
    try {
      return work();
    } catch (const RestoreFileError&) {
      throw;
    } catch (const Error& error) {
      // A file system of the network says EIO, too, when its server does not answer in time.
      if (error.kind() != ErrorKind::unavailable && error.kind() != ErrorKind::io) throw;
      outage = error;
    }
    const milliseconds pause = pauses.next();
    if (clock_.steady_now() + pause - *pauses.since >= pauses.patience.outage) throw *outage;
    pauses.sleep(pause);
  }
}

LaterWal ArchiveReader::later_wal(const WalFileName& segment, bool all, const RecoveryPatience& patience,
                                  const CallContext& context) {
  Pauses pauses{.archive = *this, .patience = patience, .context = context};
  return through_outages(pauses, [&] {
    LaterWal sum;
    for (WalReader* repository : repositories_) {
      const LaterWal later = repository->later_wal(segment, all, context);
      sum.pieces += later.pieces;
      sum.pieces_to = std::max(sum.pieces_to, later.pieces_to);
      sum.objects += later.objects;
      sum.last = std::max(sum.last, later.last);
      sum.modified = std::max(sum.modified, later.modified);
    }
    return sum;
  });
}

WalFetchResult ArchiveReader::fetch_patiently(const WalFileName& file, RestoreFile& out,
                                              const RecoveryPatience& patience, const CallContext& context,
                                              AtHole at_hole) {
  Pauses pauses{.archive = *this, .patience = patience, .context = context};
  for (;;) {
    const WalFetchResult result = through_outages(pauses, [&] { return fetch(file, out, context, at_hole); });
    if (result != WalFetchResult::gap) return result;
    const milliseconds pause = pauses.next();
    const SteadyTime now = clock_.steady_now();
    if (!pauses.gap_since) pauses.gap_since = now;
    if (now + pause - *pauses.gap_since >= patience.gap) return WalFetchResult::gap;
    pauses.sleep(pause);
  }
}

} // namespace dbops::core
