#include "core/backup/backup_run.h"

#include "core/backup/base_files.h"
#include "core/backup/catalogue_cache.h"
#include "core/backup/control_file.h"
#include "core/backup/damaged_packs.h"
#include "core/backup/file_list_writer.h"
#include "core/backup/file_walk.h"
#include "core/backup/relation_names.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/thread_pool.h"
#include "core/wal/cluster_identity.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <fcntl.h>
#include <map>
#include <mutex>

namespace dbops::core {

namespace {

constexpr std::size_t index_slots = 1 << 18;
constexpr std::size_t map_frames_kept = 64;
constexpr std::size_t queue_limit = 64;         // regions that wait for a thread
constexpr std::size_t pending_limit = 20000;    // files whose results are not complete
constexpr std::size_t waiting_parts_limit = 16; // parts of the list of files, before packs are closed for their sake
constexpr unsigned ticket_bits = 20;            // regions of a file
constexpr milliseconds look_pause(100);         // between two looks at a tablespace that is not there
constexpr milliseconds hold_pause(100);         // between two looks whether a backup that is held may go on

// Lets through so many bytes a second, from all threads together.
class Throttle {
 public:
  Throttle(std::uint64_t bytes_per_second, Clock& clock) : rate_(bytes_per_second), clock_(clock) {}
  void pass(std::uint64_t bytes, const std::stop_token& stop) {
    if (rate_ == 0) return;
    std::chrono::steady_clock::duration wait{};
    {
      const std::lock_guard lock(mutex_);
      const SteadyTime now = clock_.steady_now();
      free_ = std::max(free_, now) + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                         std::chrono::duration<double>(double(bytes) / double(rate_)));
      wait = free_ - now;
    }
    clock_.sleep_for(wait, stop);
  }

 private:
  std::uint64_t rate_;
  Clock& clock_;
  std::mutex mutex_;
  SteadyTime free_{};
};

// Absent: not the link to a tablespace.
std::optional<std::uint32_t> tablespace_of(const FileEntry& entry) {
  constexpr std::string_view parent = "pg_tblspc/";
  if (entry.type != EntryType::symlink || !entry.path.starts_with(parent)) return {};
  const std::string_view name = std::string_view(entry.path).substr(parent.size());
  std::uint32_t oid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), oid);
  return error == std::errc() && end == name.data() + name.size() ? std::optional(oid) : std::nullopt;
}

// False: it is not there, or cannot be read.
bool read_in_pieces(const std::filesystem::path& path, const std::function<void(ByteView)>& sink) {
  constexpr std::size_t piece = 1 << 20;
  try {
    const auto file = File::open_if_exists(path, O_RDONLY);
    if (!file) return false;
    Bytes buffer(piece);
    for (std::uint64_t at = 0;; at += piece) {
      const std::size_t length = file->read_at(at, buffer);
      sink(ByteView(buffer).first(length));
      if (length < piece) return true;
    }
  } catch (const Error&) {
    return false;
  }
}

} // namespace

struct BackupRun::State {
  // A file whose regions are being read.
  struct Pending {
    FileEntry entry;
    std::size_t left = 0;
    std::vector<RegionResult> results;
  };
  // A thread's own.
  struct Lane {
    std::unique_ptr<PackWriter> packs;
    std::unique_ptr<BackupWorker> worker;
  };

  const BackupRepository& repository;
  BackupOptions options;
  LogSink log;
  BackupHead head;
  BackupProgress progress;
  BaseFiles bases;
  PackReader pack_reader;
  BlobReader maps;
  BlockIndex index;
  SystemClock clock;
  Throttle throttle;
  BackupShared shared;
  std::vector<Lane> lanes;
  std::optional<RelationNames> names; // of the server
  std::optional<FileListWriter> files;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<RegionTask> queue;
  bool no_more = false;
  std::uint64_t flush_wanted = 0; // counts up
  std::uint64_t next_flush = 0;   // parts of the list of files at which it may again
  std::exception_ptr failure;
  std::deque<Pending> pending;
  std::uint64_t first_pending = 0; // number of the first one
  std::stop_source stop;
  std::atomic<bool> held{false};

  State(const BackupRepository& where, BackupOptions what, LogSink sink, const CallContext& context)
      : repository(where), options(std::move(what)), log(std::move(sink)), bases(where, options.full, context),
        pack_reader(where.store, where.system_identifier, where.keys), maps(pack_reader, map_frames_kept),
        index(index_slots), throttle(options.bytes_per_second, clock), shared{.store = where.store,
                                                                              .clock = where.clock,
                                                                              .maps = maps,
                                                                              .index = index,
                                                                              .log = log} {}

  void begin(const CallContext& context);
  void copy(const BackupStart& start, const CallContext& context);
  void make_lanes();
  void take_entry(FileEntry entry, const std::filesystem::path& root, const CallContext& context);
  void enqueue(RegionTask task);
  void run_lane(Lane& lane, const CallContext& context) noexcept;
  bool take_task(RegionTask& task, bool& flush, std::uint64_t& flushed, bool wait);
  void take_result(RegionResult result);
  void write_complete(const CallContext& context, std::size_t leave);
  void complete(Pending& file);
  void fail(std::exception_ptr error) noexcept;
  void rethrow_failure();
  void require_alone(const CallContext& context);
  std::vector<PackInfo> packs_in_store(const CallContext& context);
  std::map<PackId, std::uint64_t> base_pack_sizes(const CallContext& context) const;
};

void BackupRun::State::begin(const CallContext& context) {
  head.system_identifier = repository.system_identifier;
  if (bases.head()) head.base = bases.head()->label;
  // Labels ascend even when the clock was set back.
  WallTime time = repository.clock.wall_now();
  const auto labels = list_backup_labels(repository, context);
  if (!labels.empty()) {
    const std::string& last = labels.back();
    const auto then = parse_iso8601(last.substr(0, 4) + "-" + last.substr(4, 2) + "-" + last.substr(6, 5) + ":" +
                                    last.substr(11, 2) + ":" + last.substr(13));
    if (then) time = std::max(time, *then + std::chrono::seconds(1));
  }
  head.started = time;
  head.label = iso8601_basic(time);
  shared.condemned = damaged_packs(repository, context);
  head.user_label = options.user_label;
  head.annotations = options.annotations;
  const nlohmann::ordered_json begun = {{"label", head.label}, {"base", head.base}, {"origin", repository.origin}};
  repository.put(backup_begun_key(head.label), ObjectKind::backup_event, as_bytes(begun.dump()), context);
  files.emplace(repository, head.label,
                FileListWriter::Packs{.now =
                                          [this] {
                                            FileListWriter::Moment moment;
                                            for (const Lane& lane : lanes)
                                              moment.push_back(lane.packs->filled());
                                            return moment;
                                          },
                                      .durable_since =
                                          [this](const FileListWriter::Moment& moment) {
                                            for (std::size_t i = 0; i < lanes.size(); ++i)
                                              if (lanes[i].packs->durable() < moment[i]) return false;
                                            return true;
                                          }});
}

void BackupRun::State::make_lanes() {
  const auto stored = [this](const PackInfo& pack) { progress.new_bytes += pack.size; };
  for (unsigned i = 0; i < options.threads; ++i) {
    Lane lane;
    lane.packs = std::make_unique<PackWriter>(repository.store, repository.clock, repository.random,
                                              PackOptions{.system_identifier = repository.system_identifier,
                                                          .origin = repository.origin,
                                                          .compression_level = repository.compression_level,
                                                          .keys = repository.keys},
                                              stored);
    lane.worker = std::make_unique<BackupWorker>(shared, *lane.packs,
                                                 [this](RegionResult result) { take_result(std::move(result)); });
    lanes.push_back(std::move(lane));
  }
}

void BackupRun::State::fail(std::exception_ptr error) noexcept {
  {
    const std::lock_guard lock(mutex);
    if (!failure) failure = std::move(error);
    no_more = true;
    queue.clear();
  }
  stop.request_stop();
  changed.notify_all();
}

void BackupRun::State::rethrow_failure() {
  const std::lock_guard lock(mutex);
  if (failure) std::rethrow_exception(failure);
}

// False: there is none; with `wait`, there will be none either.
bool BackupRun::State::take_task(RegionTask& task, bool& flush, std::uint64_t& flushed, bool wait) {
  std::unique_lock lock(mutex);
  if (wait) changed.wait(lock, [&] { return no_more || !queue.empty() || flush_wanted != flushed; });
  flush = flush_wanted != flushed;
  flushed = flush_wanted;
  if (queue.empty()) return false;
  task = std::move(queue.front());
  queue.pop_front();
  lock.unlock();
  changed.notify_all();
  return true;
}

void BackupRun::State::run_lane(Lane& lane, const CallContext& context) noexcept {
  try {
    std::uint64_t flushed = 0;
    bool flush = false, ended = false;
    while (!ended) {
      RegionTask task;
      bool found = take_task(task, flush, flushed, false);
      if (!found) {
        // Whoever waits for results must get them before this thread waits for work.
        lane.worker->finish_frames(context);
        bool flush_again = false;
        found = take_task(task, flush_again, flushed, true);
        flush = flush || flush_again;
      }
      if (found) lane.worker->process(std::move(task), context);
      if (flush) {
        lane.worker->finish_frames(context);
        lane.packs->flush(context);
        changed.notify_all();
      }
      const std::lock_guard lock(mutex);
      ended = no_more && queue.empty();
    }
    lane.worker->finish_frames(context);
    lane.packs->flush(context);
  } catch (...) {
    fail(std::current_exception());
  }
}

void BackupRun::State::take_result(RegionResult result) {
  {
    const std::lock_guard lock(mutex);
    Pending& file = pending.at(std::size_t((result.ticket >> ticket_bits) - first_pending));
    const std::size_t region = result.ticket & ((1U << ticket_bits) - 1);
    file.results.at(region) = std::move(result);
    --file.left;
  }
  changed.notify_all();
}

// All regions of the file are known.
void BackupRun::State::complete(Pending& file) {
  FileEntry& entry = file.entry;
  if (entry.type != EntryType::file) {
    files->add(entry);
    return;
  }
  if (!file.results.empty() && file.results.front().vanished) return;
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < file.results.size(); ++i) {
    RegionResult& result = file.results[i];
    const std::uint64_t expected = std::min(region_size, entry.size - i * region_size);
    head.new_blocks += result.new_blocks;
    if (result.length > 0) entry.regions.push_back(*result.map);
    entry.damaged.insert(entry.damaged.end(), result.damaged.begin(), result.damaged.end());
    size += result.length;
    if (result.length < expected) break; // truncated meanwhile: what lies behind is not part of the file
  }
  entry.size = size;
  head.bytes += size;
  ++head.files;
  ++progress.files;
  head.damaged_blocks += entry.damaged.size();
  if (!entry.damaged.empty() && log)
    for (const std::uint32_t block : entry.damaged) {
      const auto relation = parse_relation_file(entry.path);
      const std::string name = names->describe(entry.path);
      log({LogLevel::warning, "page checksum mismatch: " + name + (name.empty() ? "\"" : ", \"") + entry.path + "\", " +
                                  (relation ? "fork " + std::string(to_string(relation->fork)) + ", " : std::string()) +
                                  "block " +
                                  std::to_string((relation ? relation->segment * relation_segment_pages : 0) + block)});
    }
  files->add(entry);
}

// Hands on files in their order until at most `leave` are waiting.
void BackupRun::State::write_complete(const CallContext& context, std::size_t leave) {
  std::unique_lock lock(mutex);
  while (!pending.empty()) {
    if (failure) std::rethrow_exception(failure);
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the backup was cancelled");
    if (pending.front().left == 0) {
      Pending file = std::move(pending.front());
      pending.pop_front();
      ++first_pending;
      lock.unlock();
      complete(file);
      const std::size_t waiting = files->write_ready(context);
      if (waiting > waiting_parts_limit && files->parts() + waiting >= next_flush) {
        next_flush = files->parts() + waiting + waiting_parts_limit;
        lock.lock();
        ++flush_wanted;
        lock.unlock();
        changed.notify_all();
      }
      lock.lock();
    } else if (pending.size() > leave) {
      changed.wait_for(lock, milliseconds(200));
    } else {
      return;
    }
  }
}

void BackupRun::State::enqueue(RegionTask task) {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return queue.size() < queue_limit || failure; });
  if (failure) std::rethrow_exception(failure);
  queue.push_back(std::move(task));
  lock.unlock();
  changed.notify_all();
}

void BackupRun::State::take_entry(FileEntry entry, const std::filesystem::path& root, const CallContext& context) {
  const auto base = bases.find(entry.path, context);
  const std::string path = entry.path;
  const std::uint64_t size = entry.type == EntryType::file ? entry.size : 0;
  const std::size_t regions = std::size_t((size + region_size - 1) / region_size);
  if (regions >> ticket_bits != 0) throw Error(ErrorKind::io, "file \"" + path + "\" is too large");
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex);
    number = first_pending + pending.size();
    pending.push_back({std::move(entry), regions, std::vector<RegionResult>(regions)});
  }
  for (std::size_t i = 0; i < regions; ++i) {
    RegionTask task;
    task.path = path;
    task.file = root / path;
    task.offset = i * region_size;
    task.length = std::min(region_size, size - task.offset);
    if (base && i < base->regions.size()) {
      task.base = base->regions[i];
      task.base_damaged = base->damaged;
    }
    task.ticket = number << ticket_bits | i;
    enqueue(std::move(task));
  }
  write_complete(context, pending_limit);
}

void BackupRun::State::copy(const BackupStart& start, const CallContext& context) {
  head.server_version = start.server_version;
  head.page_checksums = start.page_checksums;
  head.start_lsn = start.lsn;
  shared.page_checksums = start.page_checksums;
  shared.start_lsn = start.lsn;
  CallContext inner = context;
  inner.stop = stop.get_token();
  const std::stop_callback cancel(context.stop, [this] { stop.request_stop(); });
  shared.was_read = [this](std::uint64_t bytes) {
    progress.bytes_read += bytes;
    throttle.pass(bytes, stop.get_token());
    while (held && !stop.stop_requested())
      clock.sleep_for(hold_pause, stop.get_token());
  };
  make_lanes();
  names.emplace([&root = start.data_directory](const std::string& path, const std::function<void(ByteView)>& sink) {
    return read_in_pieces(root / path, sink);
  });
  const Bytes control = read_control_file(start.data_directory);
  WalkOptions walk{.data_directory = start.data_directory,
                   .tablespace_version_directory = "PG_" + std::to_string(start.server_version / 10000) + "_" +
                                                   std::to_string(catalog_version(control)),
                   .skipped =
                       [this](const std::string& path) {
                         if (log) log({LogLevel::warning, "\"" + path + "\" is no regular file, and is left out"});
                       },
                   .look_again =
                       [this] {
                         clock.sleep_for(look_pause, stop.get_token());
                         if (stop.stop_requested()) throw Error(ErrorKind::cancelled, "the backup was cancelled");
                       }};
  ThreadPool pool(lanes.size());
  std::vector<std::future<void>> running;
  for (Lane& lane : lanes)
    running.push_back(pool.submit([this, &lane, inner](const std::stop_token&) { run_lane(lane, inner); }));
  try {
    walk_data_directory(walk, [&](FileEntry entry) {
      if (const auto oid = tablespace_of(entry); oid) head.tablespaces.push_back({*oid, entry.target});
      take_entry(std::move(entry), start.data_directory, inner);
    });
    write_complete(inner, 0);
    {
      const std::lock_guard lock(mutex);
      no_more = true;
    }
    changed.notify_all();
  } catch (...) {
    fail(std::current_exception());
  }
  // A thread ends by itself, soon after no_more is set or stop is requested.
  for (std::future<void>& lane : running)
    lane.get();
  rethrow_failure();
  files->finish(inner);
  // The last file to be read, as the server writes it last.
  head.control_file = read_control_file(start.data_directory);
  const auto identity = parse_control_file(head.control_file);
  if (!identity || !identity->segment_size) throw Error(ErrorKind::corrupt, "pg_control is not understood");
  head.wal_segment_size = std::uint32_t(identity->segment_size->bytes());
  if (identity->system_identifier != head.system_identifier)
    throw Error(ErrorKind::configuration, "data directory \"" + start.data_directory.string() +
                                              "\" is of system identifier " +
                                              std::to_string(identity->system_identifier));
}

void BackupRun::State::require_alone(const CallContext& context) {
  const std::vector<std::string> labels = list_backup_labels(repository, context);
  for (const std::string& label : labels)
    if (label > head.label && repository.store.head(repository.key(backup_head_key(label)), context))
      throw Error(ErrorKind::conflict, "backup " + label + " was begun and finished while this one ran",
                  "Take one backup of a repository at a time: another server may be taking them too.");
  if (!repository.store.head(repository.key(backup_begun_key(head.label)), context))
    throw Error(ErrorKind::conflict, "expiry has taken this backup for aborted, and removed it",
                "Start the backup again.");
}

// As the list of the backup that this one was compared with has them. A list that is damaged tells nothing.
std::map<PackId, std::uint64_t> BackupRun::State::base_pack_sizes(const CallContext& context) const {
  std::map<PackId, std::uint64_t> sizes;
  if (!bases.head()) return sizes;
  try {
    std::vector<Digest> digests;
    for (const PackInfo& pack : read_pack_list(repository, *bases.head(), digests, context))
      sizes.emplace(pack.id, pack.size);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found) throw;
  }
  return sizes;
}

// The packs that the backup refers to, sorted. Throws Error(not_found) when one of them is gone or was cut short: there
// is no backup without it. The next one knows, and stores its blocks again.
std::vector<PackInfo> BackupRun::State::packs_in_store(const CallContext& context) {
  std::set<PackId> used;
  for (const Lane& lane : lanes)
    used.insert(lane.worker->packs_used().begin(), lane.worker->packs_used().end());
  const std::map<PackId, std::uint64_t> sizes = base_pack_sizes(context);
  std::vector<PackInfo> packs;
  const std::string root = repository.key("");
  ListRequest request;
  request.prefix = repository.key("pack/");
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      if (const auto id = parse_pack_key(std::string_view(object.key).substr(root.size())); id && used.contains(*id))
        if (const auto size = sizes.find(*id); size == sizes.end() || size->second == object.size)
          packs.push_back({*id, object.size});
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  std::ranges::sort(packs);
  for (const PackInfo& pack : packs)
    used.erase(pack.id);
  if (used.empty()) return packs;
  for (const PackId& id : used)
    repository.store.put_if_absent(repository.key(damaged_key(id)), as_bytes("missing, or of another size"), context);
  throw Error(ErrorKind::not_found,
              "\"" + pack_key(*used.begin()) + "\" in " + repository.store.describe() + " is missing or was cut short",
              "Start the backup again; it stores what is missing.");
}

BackupRun::BackupRun(const BackupRepository& repository, BackupOptions options, LogSink log, const CallContext& context)
    : state_(std::make_unique<State>(repository, std::move(options), std::move(log), context)) {
  state_->begin(context);
}

BackupRun::~BackupRun() = default;

const std::string& BackupRun::label() const noexcept {
  return state_->head.label;
}

const std::string& BackupRun::base() const noexcept {
  return state_->head.base;
}

const BackupProgress& BackupRun::progress() const noexcept {
  return state_->progress;
}

void BackupRun::hold(bool on) noexcept {
  state_->held = on;
}

void BackupRun::copy(const BackupStart& start, const CallContext& context) {
  state_->copy(start, context);
}

BackupHead BackupRun::finish(const BackupStop& stop, const CallContext& context) {
  State& state = *state_;
  BackupHead& head = state.head;
  head.stop_lsn = stop.lsn;
  head.timeline = stop.timeline;
  head.backup_label = stop.backup_label;
  head.tablespace_map = stop.tablespace_map;
  state.require_alone(context);
  const std::vector<PackInfo> packs = state.packs_in_store(context);
  head.stored_bytes = 0;
  for (const PackInfo& pack : packs)
    head.stored_bytes += pack.size;
  std::vector<Digest> digests = state.files->digests();
  std::uint64_t written = state.files->bytes_written();
  head.file_parts = state.files->parts();
  head.pack_parts = write_pack_list(state.repository, head.label, packs, digests, written, context);
  head.content = digest_of_parts(digests);
  head.new_bytes = state.progress.new_bytes + written;
  head.finished = stop.time;
  state.repository.put(backup_head_key(head.label), ObjectKind::backup_head, as_bytes(encode_head(head)), context);
  state.require_alone(context); // somebody may have come between
  try {
    put_summary(state.repository, head.label, state.options.threads, context);
  } catch (const Error& error) {
    if (state.log)
      state.log(
          {LogLevel::warning, std::string("the backup is complete, but not summarised for lists: ") + error.what()});
  }
  return head;
}

} // namespace dbops::core
