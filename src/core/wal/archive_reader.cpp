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
      round.gap |= fetched.result == WalFetchResult::gap;
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
  if (round.gap) return WalFetchResult::gap;
  if (round.longest == nullptr) return WalFetchResult::absent;
  covered_ = round.covered;
  if (round.longest == round.written) return WalFetchResult::padded;
  Round again;
  ask(*round.longest, file, out, again, context, at_hole);
  if (!again.failures.empty()) throw_gravest(again.failures);
  if (again.whole) return WalFetchResult::whole;
  return again.longest != nullptr ? WalFetchResult::padded : WalFetchResult::gap;
}

LaterWal ArchiveReader::later_wal(const WalFileName& segment, const CallContext& context) {
  LaterWal all;
  for (WalReader* repository : repositories_) {
    const LaterWal later = repository->later_wal(segment, context);
    all.objects += later.objects;
    all.last = std::max(all.last, later.last);
    all.modified = std::max(all.modified, later.modified);
  }
  return all;
}

WalFetchResult ArchiveReader::fetch_patiently(const WalFileName& file, RestoreFile& out,
                                              const RecoveryPatience& patience, const CallContext& context) {
  std::optional<SteadyTime> waiting_since, gap_since;
  milliseconds bound = patience.first_pause;
  for (;;) {
    std::optional<Error> outage;
    try {
      const WalFetchResult result = fetch(file, out, context);
      if (result != WalFetchResult::gap) return result;
    } catch (const RestoreFileError&) {
      throw;
    } catch (const Error& error) {
      // A file system of the network says EIO, too, when its server does not answer in time.
      if (error.kind() != ErrorKind::unavailable && error.kind() != ErrorKind::io) throw;
      outage = error;
    }
    // Between half the bound and all of it: standbys that lost their store together do not come back together.
    const milliseconds pause(std::int64_t(double(bound.count()) * (0.5 + random_.uniform() / 2)));
    const SteadyTime now = clock_.steady_now();
    if (!waiting_since) waiting_since = now;
    if (!outage && !gap_since) gap_since = now;
    if (outage && now + pause - *waiting_since >= patience.outage) throw *outage;
    if (!outage && now + pause - *gap_since >= patience.gap) return WalFetchResult::gap;
    clock_.sleep_for(pause, context.stop);
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "cancelled");
    bound = std::min(bound * 2, patience.max_pause);
  }
}

} // namespace dbops::core
