#include "core/backup/restore_run.h"

#include "core/backup/control_file.h"
#include "core/backup/restore_directory.h"
#include "core/backup/restore_worker.h"
#include "core/base/error.h"
#include "core/base/thread_pool.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <sys/stat.h>
#include <unistd.h>

namespace dbops::core {

namespace {

constexpr std::size_t map_frames_kept = 64;
constexpr std::size_t queue_limit = 128;  // units that wait for a thread: some files of 1 GiB
constexpr std::size_t unit_regions = 100; // files that are open at a time, in each thread
constexpr std::uint64_t unit_bytes = region_size;

// Regions that are restored together, for several threads. Two threads that write to one file wait for each other in
// the kernel, so each keeps to a file of its own while there is one.
class Units {
 public:
  using Unit = std::vector<RestoreTask>;

  void put(Unit unit) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return queue_.size() < queue_limit || failure_; });
    if (failure_) std::rethrow_exception(failure_);
    queue_.push_back(std::move(unit));
    lock.unlock();
    changed_.notify_all();
  }
  // For the thread with that number.
  std::optional<Unit> take(unsigned thread) {
    std::unique_lock lock(mutex_);
    files_.erase(thread);
    changed_.wait(lock, [&] { return !queue_.empty() || ended_ || failure_; });
    if (failure_ || queue_.empty()) return {};
    const auto best = next(thread);
    Unit unit = std::move(*best);
    queue_.erase(best);
    files_[thread] = last_[thread] = file_of(unit);
    lock.unlock();
    changed_.notify_all();
    return unit;
  }
  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  void fail(std::exception_ptr error) noexcept {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(error);
    changed_.notify_all();
  }
  void rethrow() {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  // Units of small files hold several of them, which no other unit has.
  static const std::string& file_of(const Unit& unit) { return unit.front().path; }

  // That of the file it is at; else the first of a file that nobody is at; else the first.
  std::deque<Unit>::iterator next(unsigned thread) {
    const auto same = std::ranges::find(queue_, last_[thread], file_of);
    if (same != queue_.end()) return same;
    const auto of_nobody = std::ranges::find_if(queue_, [&](const Unit& unit) {
      return std::ranges::none_of(files_, [&](const auto& at) { return at.second == file_of(unit); });
    });
    return of_nobody != queue_.end() ? of_nobody : queue_.begin();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Unit> queue_;
  std::map<unsigned, std::string> files_, last_; // of each thread: what it is at, and what it was at
  bool ended_ = false;
  std::exception_ptr failure_;
};

class Restore {
 public:
  Restore(const BackupRepository& repository, const BackupHead& head, const RestoreOptions& options,
          RestoreProgress& progress, const LogSink& log)
      : repository_(repository), head_(head), options_(options), progress_(progress), log_(log),
        directory_(head, options), packs_(repository.store, repository.system_identifier, repository.keys),
        maps_(packs_, map_frames_kept) {}

  void run(const CallContext& context) {
    directory_.check();
    check_backup(context);
    directory_.begin();
    if (directory_.reuses_files()) {
      if (log_) log_({LogLevel::info, "what is there is compared with the backup, and kept where it is right"});
      FileListReader files(repository_, head_.label, head_.file_parts);
      directory_.remove_others([&] { return files.next(context); });
    }
    copy(context);
    directory_.finish();
  }

 private:
  // Manifest, list of packs and packs: all there, and those that belong together.
  void check_backup(const CallContext& context) {
    if (!is_whole_control_file(head_.control_file))
      throw Error(ErrorKind::corrupt, "pg_control in backup " + head_.label + " is damaged");
    FileListReader files(repository_, head_.label, head_.file_parts);
    while (const auto entry = files.next(context))
      directory_.count(*entry);
    std::vector<Digest> digests = files.digests();
    const std::vector<PackInfo> packs = read_pack_list(repository_, head_, digests, context);
    if (digest_of_parts(digests) != head_.content)
      throw Error(ErrorKind::corrupt, "the parts of backup " + head_.label + " are not those that it was made with");
    const std::vector<PackInfo> missing = missing_packs(repository_, packs, context);
    if (!missing.empty())
      throw Error(ErrorKind::not_found, std::to_string(missing.size()) + " of " + std::to_string(packs.size()) +
                                            " packs of backup " + head_.label + " are missing or cut short, \"" +
                                            pack_key(missing.front().id) + "\" for one");
    if (const std::string warning = directory_.check_space(); !warning.empty() && log_)
      log_({LogLevel::warning, warning});
  }

  void add(RestoreTask task) {
    unit_size_ += task.length;
    unit_.push_back(std::move(task));
    if (unit_size_ >= unit_bytes || unit_.size() >= unit_regions) hand_over();
  }
  void hand_over() {
    if (!unit_.empty()) units_.put(std::move(unit_));
    unit_ = {};
    unit_size_ = 0;
  }

  void run_lane(unsigned thread, const CallContext& context) noexcept {
    try {
      RestoreWorker worker(packs_, maps_, progress_);
      while (const auto unit = units_.take(thread)) {
        worker.process(*unit, context);
        progress_.bytes_read = packs_.bytes_read();
      }
    } catch (...) {
      units_.fail(std::current_exception());
    }
  }

  void make_entries(const CallContext& context) {
    FileListReader files(repository_, head_.label, head_.file_parts);
    while (const auto entry = files.next(context)) {
      if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the restore was cancelled");
      const auto made = directory_.make(*entry);
      if (entry->type != EntryType::file) continue;
      ++progress_.files;
      for (std::size_t i = 0; i < entry->regions.size(); ++i)
        add({.path = entry->path,
             .file = made.path,
             .offset = i * region_size,
             .length = std::min(region_size, entry->size - i * region_size),
             .map = entry->regions[i],
             .compare = made.had_content});
    }
    hand_over();
  }

  void copy(const CallContext& context) {
    std::stop_source stop;
    const std::stop_callback cancel(context.stop, [&stop] { stop.request_stop(); });
    CallContext inner = context;
    inner.stop = stop.get_token();
    ThreadPool pool(options_.threads);
    std::vector<std::future<void>> running;
    for (unsigned i = 0; i < options_.threads; ++i)
      running.push_back(pool.submit([this, i, inner](const std::stop_token&) { run_lane(i, inner); }));
    try {
      make_entries(inner);
    } catch (...) {
      units_.fail(std::current_exception());
      stop.request_stop();
    }
    units_.end();
    for (std::future<void>& lane : running)
      lane.get();
    units_.rethrow();
  }

  const BackupRepository& repository_;
  const BackupHead& head_;
  const RestoreOptions& options_;
  RestoreProgress& progress_;
  const LogSink& log_;
  RestoreDirectory directory_;
  PackReader packs_;
  BlobReader maps_;
  Units units_;
  Units::Unit unit_;
  std::uint64_t unit_size_ = 0;
};

} // namespace

void restore_backup(const BackupRepository& repository, const BackupHead& head, const RestoreOptions& options,
                    RestoreProgress& progress, const LogSink& log, const CallContext& context) {
  Restore(repository, head, options, progress, log).run(context);
}

std::vector<PackInfo> missing_packs(const BackupRepository& repository, const std::vector<PackInfo>& packs,
                                    const CallContext& context) {
  std::vector<bool> seen(packs.size());
  const std::string root = repository.key("");
  ListRequest request;
  request.prefix = repository.key("pack/");
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const auto id = parse_pack_key(std::string_view(object.key).substr(root.size()));
      if (!id) continue;
      const auto place = std::ranges::lower_bound(packs, *id, {}, &PackInfo::id);
      if (place != packs.end() && place->id == *id && place->size == object.size)
        seen[std::size_t(place - packs.begin())] = true;
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  std::vector<PackInfo> missing;
  for (std::size_t i = 0; i < packs.size(); ++i)
    if (!seen[i]) missing.push_back(packs[i]);
  return missing;
}

} // namespace dbops::core
