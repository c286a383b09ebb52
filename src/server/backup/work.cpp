// What a worker does with a job of kind 'backup': the SQL calls are made here, everything else in threads of core.

#include "server/backup/work.h"

#include <cmath>

#include "core/backup/backup_lock.h"
#include "core/backup/backup_run.h"
#include "core/backup/backup_wal.h"
#include "server/archive/session_task.h"
#include "server/backup/archiving_primary.h"
#include "server/backup/repository.h"
#include "server/backup/spec.h"
#include "server/engine/signals.h"
#include "server/engine/wait.h"

extern "C" {
#include "access/xlog.h"
}

namespace dbops::server::backup {

namespace {

using archive::thread_clock;
using core::milliseconds;

constexpr milliseconds look_interval{250};    // at signals, and for progress
constexpr milliseconds report_interval{1000}; // a row version each time
constexpr double smoothing_seconds = 15;      // of the rate, as for other jobs
constexpr std::size_t kept_messages = 1000;

// What the threads use. They own a share of it, so that one that hangs can be left behind.
struct Work {
  archive::Settings settings;
  archive::Cluster cluster;
  Spec spec;
  core::TimelineId timeline = 0; // that the server writes
  core::LogQueue messages{kept_messages};
  std::optional<core::File> lock;
  std::optional<RepositoryHandle> handle;
  std::unique_ptr<core::BackupRun> run;
  std::atomic<const core::BackupProgress*> progress{nullptr};

  void begin(const core::CallContext& context) {
    lock = core::lock_for_backup(cluster.data_directory);
    handle.emplace(open_backup_repository(settings, cluster));
    handle->access.fence->require_repository(context);
    core::refuse_wal_of_others(handle->repository, timeline, cluster.owner, context);
    core::BackupOptions options;
    options.full = spec.full;
    options.threads = static_cast<unsigned>(spec.threads);
    options.bytes_per_second = static_cast<std::uint64_t>(spec.max_bytes_per_second.value_or(0));
    options.user_label = spec.label;
    options.annotations = spec.annotations;
    run = std::make_unique<core::BackupRun>(
        handle->repository, std::move(options), [this](core::LogMessage message) { messages.push(std::move(message)); },
        context);
    progress = &run->progress();
  }

  core::BackupHead finish(const core::BackupStart& start, const core::BackupStop& stop,
                          const core::CallContext& context) {
    const core::SteadyTime give_up =
        thread_clock().steady_now() + milliseconds(static_cast<std::int64_t>(spec.archive_timeout * 1000));
    core::wait_for_backup_wal(handle->repository,
                              {.start = start.lsn,
                               .stop = stop.lsn,
                               .timeline = stop.timeline,
                               .segment_size = core::SegmentSize(cluster.segment_size)},
                              thread_clock(), give_up, context);
    core::require_own_wal(handle->repository, stop.timeline, cluster.owner, context);
    return run->finish(stop, context);
  }
};

struct Outcome {
  std::optional<core::BackupHead> head;
  std::optional<archive::ThreadFailure> failure;
};

class BackupJob {
 public:
  BackupJob(Session& session, const Job& job, int slice)
      : session_(session), job_(job), slice_(slice), work_(std::make_shared<Work>()),
        throttle_(limits_of(from_json(job.spec))) {
    Spec spec = from_json(job.spec);
    spec.label = to_utf8(spec.label);
    for (auto annotation = spec.annotations.begin(); annotation != spec.annotations.end(); ++annotation)
      annotation->second = to_utf8(annotation->second);
    work_->spec = std::move(spec);
    work_->settings = archive::current_settings();
    work_->cluster = archive::this_cluster();
    (void)GetFlushRecPtr(&work_->timeline);
  }

  void run() {
    require_primary();
    session_.transaction([this] { start_over(); });
    in_thread([](Work& work, const core::CallContext& context) {
      work.begin(context);
      return std::optional<core::BackupHead>();
    });
    try {
      start_backup();
      in_thread([start = start_](Work& work, const core::CallContext& context) {
        work.run->copy(start, context);
        return std::optional<core::BackupHead>();
      });
    } catch (...) {
      abort_backup();
      throw;
    }
    const core::BackupStop stop = stop_backup();
    waiting_for_ = "its WAL to be archived";
    const auto head = in_thread([start = start_, stop](Work& work, const core::CallContext& context) {
      return std::optional(work.finish(start, stop, context));
    });
    report_end(*head);
  }

 private:
  void require_primary() {
    // A copy of the server that was restored has its jobs, too, and archives nothing.
    require_archiving_primary();
    if (work_->settings.store.empty())
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "dbops.store is not set", "Set it, and reload.");
    // Who had the right when the job was made may have lost it.
    session_.transaction([this] {
      const Rows allowed =
          bookkeep("SELECT pg_catalog.bool_or(pg_catalog.has_function_privilege($1::oid, p.oid, 'EXECUTE'))"
                   " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
                   " WHERE n.nspname = 'dbops' AND p.proname = 'backup'",
                   {to_text(job_.owner)});
      if (!allowed.boolean(0, 0))
        throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "the job's owner may not take backups",
                       "GRANT dbops_admin to it, then SELECT dbops.retry(" + to_text(job_.id) + ").");
    });
  }

  // Each run is a whole backup, so what an earlier one has read does not count.
  void start_over() {
    const std::string id = to_text(job_.id), slice = to_text(slice_);
    bookkeep("UPDATE dbops.job_slice SET rows_done = 0, rate = 0 WHERE job_id = $1::bigint AND slice = $2::integer",
             {id, slice});
    bookkeep("UPDATE dbops.job_run SET rows_before = 0 WHERE outcome = 'running' AND job_id = $1::bigint"
             " AND slice = $2::integer",
             {id, slice});
    bookkeep("UPDATE dbops.job SET rows_total = (SELECT sum(pg_catalog.pg_tablespace_size(t.oid))::bigint"
             " FROM pg_catalog.pg_tablespace t) WHERE job_id = $1::bigint",
             {id});
  }

  // fn(Work&, context) in a thread, while this process listens, shows how far it is, and holds it when the throttle
  // says so.
  template <typename F>
  std::optional<core::BackupHead> in_thread(F fn) {
    archive::BackgroundTask<Outcome> task;
    task.start(
        [work = work_, fn = std::move(fn)](const std::stop_token& stop) {
          Outcome outcome;
          try {
            outcome.head = fn(*work, core::CallContext{.stop = stop, .deadline = {}});
          } catch (...) {
            outcome.failure = archive::describe_thread_failure();
          }
          return outcome;
        },
        archive::session_event());
    for (;;) {
      std::optional<Outcome> outcome = task.take();
      if (outcome) {
        tell_messages();
        if (outcome->failure)
          throw SqlError(sqlstate_of(*outcome->failure), outcome->failure->message, outcome->failure->hint);
        return std::move(outcome->head);
      }
      if (!archive::session_event().wait(look_interval))
        throw SqlError(ERRCODE_ADMIN_SHUTDOWN, "the postmaster is gone");
      check_interrupts();
      look();
    }
  }

  void look() {
    const core::SteadyTime now = thread_clock().steady_now();
    if (now - reported_ < report_interval) return;
    tell_messages();
    if (is_throttled() && work_->run) {
      const std::vector<std::string> reasons = throttle_.reasons(signals_.read(session_, limits_of(work_->spec), {}));
      throttled_ = reasons.empty() ? std::string() : reasons.front();
      work_->run->hold(!throttled_.empty());
    }
    report(now);
  }

  static core::ThrottleLimits limits_of(const Spec& spec) {
    return {.max_replica_lag = spec.max_replica_lag, .max_archive_backlog = spec.max_archive_backlog};
  }
  [[nodiscard]] bool is_throttled() const {
    return (work_->spec.max_replica_lag || work_->spec.max_archive_backlog) && work_->progress != nullptr;
  }

  void report(core::SteadyTime now) {
    const core::BackupProgress* const progress = work_->progress;
    const std::uint64_t bytes = progress == nullptr ? 0 : progress->bytes_read.load();
    const double seconds = std::chrono::duration<double>(now - reported_).count();
    if (reported_ != core::SteadyTime{} && bytes >= bytes_) {
      const double current = static_cast<double>(bytes - bytes_) / seconds;
      const double weight = rate_ == 0 ? 1 : 1 - std::exp(-seconds / smoothing_seconds);
      rate_ += weight * (current - rate_);
    }
    bytes_ = bytes;
    reported_ = now;
    const std::string& waiting = throttled_.empty() ? waiting_for_ : throttled_;
    try {
      session_.transaction([&] {
        lock_at_most("1s");
        commit_without_waiting();
        bookkeep("UPDATE dbops.job_slice SET rows_done = $3::bigint, rate = $4::float8, rate_at = clock_timestamp(),"
                 " updated_at = clock_timestamp(), waiting_since = CASE WHEN $5 = '' THEN NULL"
                 " WHEN waiting_for IS NULL THEN clock_timestamp() ELSE waiting_since END, waiting_for = nullif($5, '')"
                 " WHERE job_id = $1::bigint AND slice = $2::integer",
                 {to_text(job_.id), to_text(slice_), to_text(static_cast<std::int64_t>(bytes)), std::to_string(rate_),
                  waiting});
      });
    } catch (const SqlError& error) {
      if (error.code != ERRCODE_LOCK_NOT_AVAILABLE) throw;
    }
  }

  void tell_messages() {
    for (const core::LogMessage& message : work_->messages.drain().messages)
      archive::log_line(message.level == core::LogLevel::warning,
                        "backup, job " + to_text(job_.id) + ": " + message.text);
  }

  void start_backup() {
    const auto setting = [](const char* name) {
      return std::string(call_pg([name] { return GetConfigOption(name, false, false); }));
    };
    start_.data_directory = work_->cluster.data_directory;
    start_.server_version = static_cast<std::uint32_t>(std::stoul(setting("server_version_num")));
    start_.page_checksums = setting("data_checksums") == "on";
    waiting_for_ = "a checkpoint";
    report(thread_clock().steady_now());
    const std::string lsn = session_.transaction([this] {
      return bookkeep("SELECT pg_catalog.pg_backup_start($1::text, true)::text", {"dbops " + work_->run->label()})
          .text(0, 0);
    });
    start_.lsn = core::parse_lsn(lsn).value();
    waiting_for_.clear();
  }

  core::BackupStop stop_backup() {
    waiting_for_.clear();
    return session_.transaction([] {
      const Rows stopped = bookkeep(
          "SELECT s.lsn::text, s.labelfile, s.spcmapfile, pg_catalog.to_char(clock_timestamp() AT TIME ZONE 'UTC',"
          " 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM pg_catalog.pg_backup_stop(false) s");
      core::BackupStop stop;
      stop.lsn = core::parse_lsn(stopped.text(0, 0)).value();
      stop.backup_label = stopped.text(0, 1);
      stop.tablespace_map = stopped.text(0, 2);
      stop.time = core::parse_iso8601(stopped.text(0, 3)).value();
      // A primary stays on its timeline.
      (void)GetFlushRecPtr(&stop.timeline);
      return stop;
    });
  }

  // The session must not stay in backup mode. Nothing to be done when that fails: its end does it.
  void abort_backup() noexcept {
    try {
      if (get_backup_status() == SESSION_BACKUP_NONE) return;
      session_.transaction([] { bookkeep("SELECT pg_catalog.pg_backup_stop(false)"); });
    } catch (const std::exception&) {
      archive::log_line(true, "a backup that was aborted could not be stopped");
    }
  }

  void report_end(const core::BackupHead& head) {
    session_.transaction([&] {
      const std::string id = to_text(job_.id);
      const std::string bytes = to_text(static_cast<std::int64_t>(head.bytes));
      bookkeep("UPDATE dbops.job SET rows_total = $2::bigint, spec = spec || pg_catalog.jsonb_build_object('backup', "
               "$3::text)"
               " WHERE job_id = $1::bigint",
               {id, bytes, head.label});
      bookkeep("UPDATE dbops.job_slice SET rows_done = $3::bigint WHERE job_id = $1::bigint AND slice = $2::integer",
               {id, to_text(slice_), bytes});
      if (head.damaged_blocks > 0)
        bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, from_state, to_state, reason)"
                 " VALUES ($1::bigint, 'dbops', 'corruption', 'running', 'running', $2)",
                 {id, to_text(static_cast<std::int64_t>(head.damaged_blocks)) +
                          " blocks are corrupt in this server; the backup has them as they are, and the server's log "
                          "names them"});
    });
  }

  Session& session_;
  const Job& job_;
  const int slice_;
  std::shared_ptr<Work> work_;
  core::Throttle throttle_;
  SignalReader signals_;
  core::BackupStart start_;
  std::string waiting_for_, throttled_;
  core::SteadyTime reported_{};
  std::uint64_t bytes_ = 0;
  double rate_ = 0;
};

} // namespace

SliceEnd work(Session& session, const Job& job, int slice) {
  // The process may be told to end while threads run: the exit handlers of libraries would free what they use.
  static bool prepared = false;
  if (!std::exchange(prepared, true)) archive::leave_thread_behind();
  BackupJob(session, job, slice).run();
  return SliceEnd::job_done;
}

} // namespace dbops::server::backup
