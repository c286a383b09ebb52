#include "core/wal/archive_pipeline.h"

#include "core/wal/divergence.h"
#include "core/wal/ready_files.h"
#include "core/wal/wal_file.h"
#include "core/wal/wal_reader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

namespace dbops::core {

namespace {

constexpr std::size_t remembered_sizes = 16;
constexpr std::size_t max_kept_failures = 16;
constexpr milliseconds time_to_stop{5000}; // for an upload whose time is over

struct Entry {
  WalFileName file;
  Fencing fencing = Fencing::owner;
  bool running = false;
  SteadyTime started = {};
  UploadOutcome outcome{.state = UploadState::waiting};
};

struct InOrder {
  bool operator()(const WalFileName& left, const WalFileName& right) const { return is_archived_before(left, right); }
};

TimelineId timeline_of(const WalFileName& file) {
  std::uint64_t timeline = 0;
  parse_hex_field(file.timeline, timeline);
  return TimelineId(timeline);
}

UploadOutcome describe_failure(const std::exception_ptr& failure) {
  UploadOutcome outcome{.state = UploadState::failed};
  try {
    std::rethrow_exception(failure);
  } catch (const WalFileGone& error) {
    outcome.kind = error.kind();
    outcome.message = error.what();
    outcome.gone = true;
  } catch (const Error& error) {
    outcome.kind = error.kind();
    outcome.message = error.what();
    outcome.hint = error.hint();
  } catch (const std::exception& error) {
    outcome.kind = ErrorKind::io;
    outcome.message = error.what();
  } catch (...) {
    outcome.kind = ErrorKind::io;
    outcome.message = "unknown error";
  }
  return outcome;
}

} // namespace

// Owned by the pipeline and by each task, so that a thread that is left behind has all it refers to.
struct ArchivePipeline::State {
  explicit State(PipelineSetup given) : setup(std::move(given)) { setup.writer.encoding.keys = setup.keys.get(); }

  PipelineSetup setup;
  std::mutex mutex;
  std::condition_variable_any changed; // an entry waits, or there is room again
  std::map<WalFileName, Entry, InOrder> entries;
  std::map<std::string, WalFileName> names; // of the entries
  std::vector<std::unique_ptr<WalWriter>> idle_writers;
  std::size_t running = 0;
  std::deque<std::uint64_t> object_sizes; // of the last segments
  PipelineCounters counters;
  std::vector<UploadOutcome> failures;
  bool failing = false; // the last file that ended did
  bool stopped = false;
  StreamedBefore streamed_before;

  // Under the lock from here.
  [[nodiscard]] bool has_room() const {
    if (running == 0) return true;
    if (running >= setup.workers) return false;
    const std::uint64_t expected = object_sizes.empty() ? setup.largest_file : *std::ranges::max_element(object_sizes);
    return (running + 1) * expected <= setup.memory;
  }
  std::optional<Entry> start_next() {
    if (stopped || !has_room()) return {};
    for (auto& [file, entry] : entries)
      if (entry.outcome.state == UploadState::waiting && !entry.running) {
        entry.running = true;
        entry.started = setup.clock.steady_now();
        ++running;
        return entry;
      }
    return {};
  }
  // What has failed for one will fail for the others: they are offered again when they are asked for.
  void forget_waiting() {
    for (auto entry = entries.begin(); entry != entries.end();) {
      const bool waits = entry->second.outcome.state == UploadState::waiting && !entry->second.running;
      if (waits) names.erase(entry->first.name);
      entry = waits ? entries.erase(entry) : std::next(entry);
    }
  }
  std::unique_ptr<WalWriter> take_writer() {
    if (idle_writers.empty()) return std::make_unique<WalWriter>(*setup.store, setup.clock, setup.random, setup.writer);
    auto writer = std::move(idle_writers.back());
    idle_writers.pop_back();
    return writer;
  }
  void record(const WalFileName& file, const UploadOutcome& outcome, const WalPutReport& report) {
    --running;
    if (const auto found = entries.find(file); found != entries.end()) {
      found->second.running = false;
      found->second.outcome = outcome;
    }
    // A file that is gone (PostgreSQL drops its .ready then) says nothing about the store.
    if (outcome.state == UploadState::failed && outcome.gone) return;
    failing = outcome.state == UploadState::failed;
    if (failing) {
      ++counters.failures;
      forget_waiting();
      if (outcome.kind != ErrorKind::cancelled && failures.size() < max_kept_failures) failures.push_back(outcome);
      return;
    }
    ++counters.files;
    counters.bytes += report.plaintext_size;
    counters.object_bytes += report.object_size;
    if (file.kind == WalFileKind::segment) object_sizes.push_back(report.object_size);
    if (object_sizes.size() > remembered_sizes) object_sizes.pop_front();
  }

  // Without the lock.
  void work(const std::stop_token& stop) {
    for (std::unique_lock lock(mutex);;) {
      std::optional<Entry> entry;
      if (!changed.wait(lock, stop, [&] { return (entry = start_next()).has_value(); }) || stop.stop_requested())
        return;
      lock.unlock();
      WalPutReport report;
      const UploadOutcome outcome = upload(*entry, stop, report);
      lock.lock();
      record(entry->file, outcome, report);
      changed.notify_all();
      lock.unlock();
      if (setup.wake) setup.wake();
      lock.lock();
    }
  }

  // A server that was set back to an earlier state writes other segments under names that are still free.
  void require_no_divergence(const WalFileName& file, const std::filesystem::path& path, const CallContext& context) {
    const StreamedWal streamed{
        .store = *setup.store, .system_identifier = setup.writer.system_identifier, .keys = setup.keys.get()};
    if (!streamed_before.has_pieces(streamed, file, context)) return;
    WalReader reader(*setup.store, setup.writer.system_identifier, setup.keys.get());
    const File segment = open_wal_file(path);
    const auto local = [&](const ChunkRange& piece) {
      Bytes bytes(piece.to - piece.from);
      bytes.resize(segment.read_at(piece.from, bytes));
      require_not_recycled(segment, path); // else its content would be another server's
      return bytes;
    };
    require_same_pieces(streamed, file, reader.list_chunks(file, context), local, context);
  }

  UploadOutcome upload(const Entry& entry, const std::stop_token& stop, WalPutReport& report) {
    std::unique_ptr<WalWriter> writer;
    try {
      const CallContext context{.stop = stop, .deadline = setup.clock.steady_now() + setup.file_timeout};
      if (entry.fencing == Fencing::owner)
        setup.fence->require_ours(timeline_of(entry.file), context);
      else
        setup.fence->require_repository(context);
      {
        const std::lock_guard lock(mutex);
        writer = take_writer();
      }
      const std::filesystem::path path = setup.directory / entry.file.name;
      if (entry.file.kind == WalFileKind::segment && entry.fencing != Fencing::remnant)
        require_no_divergence(entry.file, path, context);
      // What another server may have stored is looked for before it is sent.
      const bool shared = entry.fencing == Fencing::content && entry.file.kind == WalFileKind::segment;
      if (entry.fencing == Fencing::remnant)
        report = writer->put_remnant(entry.file, path, context);
      else if (shared && writer->is_stored(entry.file, path, context))
        report.result = PutResult::exists;
      else
        report = writer->put_file(entry.file, path, context);
    } catch (...) {
      // The writer is in the middle of an object: it goes, and its memory with it.
      return describe_failure(std::current_exception());
    }
    const std::lock_guard lock(mutex);
    idle_writers.push_back(std::move(writer));
    return {.state = UploadState::stored};
  }
};

ArchivePipeline::ArchivePipeline(PipelineSetup setup)
    : state_(std::make_shared<State>(std::move(setup))), pool_(state_->setup.workers) {
  for (std::size_t i = 0; i < state_->setup.workers; ++i)
    pool_.submit([state = state_](const std::stop_token& stop) { state->work(stop); });
}

ArchivePipeline::~ArchivePipeline() {
  shutdown(SteadyTime::max());
}

void ArchivePipeline::offer(const WalFileName& file, Fencing fencing) {
  const std::lock_guard lock(state_->mutex);
  if (state_->stopped || !state_->entries.try_emplace(file, Entry{.file = file, .fencing = fencing}).second) return;
  state_->names.emplace(file.name, file);
  state_->changed.notify_one();
}

UploadOutcome ArchivePipeline::look(const std::string& name) const {
  const std::lock_guard lock(state_->mutex);
  const auto file = state_->names.find(name);
  return file == state_->names.end() ? UploadOutcome() : state_->entries.at(file->second).outcome;
}

UploadOutcome ArchivePipeline::take(const std::string& name) {
  const std::lock_guard lock(state_->mutex);
  const auto file = state_->names.find(name);
  if (file == state_->names.end()) return {};
  const auto entry = state_->entries.find(file->second);
  const UploadOutcome outcome = entry->second.outcome;
  if (outcome.state == UploadState::waiting) return outcome;
  state_->entries.erase(entry);
  state_->names.erase(file);
  return outcome;
}

void ArchivePipeline::forget_failed() {
  const std::lock_guard lock(state_->mutex);
  for (auto entry = state_->entries.begin(); entry != state_->entries.end();) {
    const bool failed = entry->second.outcome.state == UploadState::failed;
    if (failed) state_->names.erase(entry->first.name);
    entry = failed ? state_->entries.erase(entry) : std::next(entry);
  }
}

void ArchivePipeline::retain(const std::vector<std::string>& names) {
  const std::lock_guard lock(state_->mutex);
  for (auto entry = state_->entries.begin(); entry != state_->entries.end();) {
    const bool wanted = entry->second.outcome.state == UploadState::waiting ||
                        std::ranges::find(names, entry->first.name) != names.end();
    if (!wanted) state_->names.erase(entry->first.name);
    entry = wanted ? std::next(entry) : state_->entries.erase(entry);
  }
}

bool ArchivePipeline::failing() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failing;
}

bool ArchivePipeline::hangs() const {
  const std::lock_guard lock(state_->mutex);
  const SteadyTime latest = state_->setup.clock.steady_now() - state_->setup.file_timeout - time_to_stop;
  return std::ranges::any_of(
      state_->entries, [latest](const auto& entry) { return entry.second.running && entry.second.started < latest; });
}

PipelineCounters ArchivePipeline::counters() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counters;
}

std::vector<UploadOutcome> ArchivePipeline::take_failures() {
  const std::lock_guard lock(state_->mutex);
  return std::exchange(state_->failures, {});
}

void ArchivePipeline::request_stop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
  }
  pool_.request_stop();
}

bool ArchivePipeline::ended() const {
  return pool_.ended();
}

bool ArchivePipeline::shutdown(SteadyTime deadline) {
  request_stop();
  return pool_.shutdown(deadline);
}

} // namespace dbops::core
