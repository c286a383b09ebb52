#include "server/archive/archiver.h"

#include <algorithm>

#include "server/compat.h"
#include "server/guc.h"

extern "C" {
#include "access/xlog.h"
#include "common/controldata_utils.h"
#include "postmaster/interrupt.h"
}

namespace dbops::server::archive {

namespace {

using core::milliseconds;
using core::UploadState;
using core::WalFileKind;

constexpr std::size_t window_size = 256;      // file names in memory
constexpr milliseconds rescan_interval{200};  // of a directory that had fewer files than that
constexpr milliseconds tick{1000};            // longest sleep in the callback
constexpr milliseconds control_interval{500}; // between two looks at pg_control
constexpr milliseconds stop_time{2000};       // for threads to end
constexpr std::uint64_t memory_for_objects = 24 << 20;

core::TimelineId timeline_of(const core::WalFileName& file) {
  std::uint64_t timeline = 0;
  core::parse_hex_field(file.timeline, timeline);
  return static_cast<core::TimelineId>(timeline);
}

} // namespace

Archiver::Archiver() : cluster_(this_cluster()) {
  with_archive_shared([](ArchiveShared& memory) { memory.archiver_pid = MyProcPid; });
}

void Archiver::open(Upload& upload) {
  upload.open_error.clear();
  upload.open_hint.clear();
  try {
    upload.access = open_repository(upload.url, settings_, cluster_);
  } catch (const core::Error& error) {
    upload.open_error = error.what();
    upload.open_hint = error.hint();
    upload.open_error_kind = error.kind();
    return;
  }
  upload.pipeline = std::make_unique<core::ArchivePipeline>(core::PipelineSetup{
      .store = upload.access->store,
      .fence = upload.access->fence,
      .keys = upload.access->keys,
      .clock = thread_clock(),
      .random = thread_random(),
      .writer = {.system_identifier = cluster_.system_identifier,
                 .origin = cluster_.owner.description,
                 .encoding = {.compression_level = settings_.compression_level}},
      .directory = std::filesystem::path(cluster_.data_directory) / "pg_wal",
      .workers = static_cast<std::size_t>(settings_.workers),
      .memory = memory_for_objects,
      .largest_file = cluster_.segment_size,
      .file_timeout = settings_.upload_timeout,
      .wake = [this] { event_.signal(); }, // the archiver is never freed
  });
  upload.published = {};
  upload.published_retries = 0;
}

void Archiver::close(Upload& upload) {
  if (upload.pipeline && !upload.pipeline->shutdown(thread_clock().steady_now() + stop_time)) {
    leave_thread_behind();
    log_line(true, "an upload did not stop in time and is left behind");
  }
  upload.pipeline.reset();
  upload.access.reset();
}

void Archiver::stop() {
  for (Upload& upload : uploads_) close(upload);
}

// Settings that changed take effect with the next file. What was under way is stopped, and made again: uploads may be
// repeated.
void Archiver::reload() {
  Settings now = current_settings();
  if (!(now == settings_)) {
    publish();
    stop();
    settings_ = std::move(now);
    window_.clear();
  }
  uploads_[primary].url = settings_.store;
  uploads_[offsite].url = settings_.offsite_store;
  for (Upload& upload : uploads_)
    if (!upload.pipeline && !upload.url.empty()) open(upload);
  in_recovery_ = RecoveryInProgress();
  timeline_ = 0;
  if (!in_recovery_) (void)GetFlushRecPtr(&timeline_);
}

// A standby that archives (archive_mode = always) has bytes that its primary wrote: it owns nothing, and what it writes is
// what the owner would write. The last segment of an ended timeline, and the histories of ancestors, are written by the
// server that was promoted.
core::Fencing Archiver::fencing_of(const core::WalFileName& file) const {
  const bool ours = timeline_of(file) == timeline_;
  if (in_recovery_) return core::Fencing::content;
  if (file.kind == WalFileKind::history || file.kind == WalFileKind::partial)
    return ours ? core::Fencing::owner : core::Fencing::content;
  return core::Fencing::owner;
}

void Archiver::offer(const core::WalFileName& file) {
  for (Upload& upload : uploads_)
    if (upload.pipeline) upload.pipeline->offer(file, fencing_of(file));
}

// Other files that are ready go out meanwhile: PostgreSQL asks for one at a time.
void Archiver::look_ahead(const core::WalFileName& asked) {
  const auto is_past = [&](const core::WalFileName& file) { return !core::is_archived_before(asked, file); };
  std::erase_if(window_, is_past);
  const core::SteadyTime now = thread_clock().steady_now();
  const bool few = window_.size() < 2 * static_cast<std::size_t>(settings_.workers);
  const bool more = ready_count_ > window_.size() + 1;
  if (few && (more || now - scanned_ >= rescan_interval)) {
    core::ReadyFiles ready =
        core::list_ready_files(std::filesystem::path(cluster_.data_directory) / "pg_wal/archive_status", window_size);
    scanned_ = now;
    ready_count_ = ready.count;
    window_ = std::move(ready.first);
    std::vector<std::string> names;
    for (const core::WalFileName& file : window_) names.push_back(file.name);
    names.push_back(asked.name);
    for (Upload& upload : uploads_)
      if (upload.pipeline) upload.pipeline->retain(names);
    std::erase_if(window_, is_past);
  }
  const std::size_t ahead = std::min(window_.size(), 4 * static_cast<std::size_t>(settings_.workers));
  for (std::size_t i = 0; i < ahead; ++i) offer(window_[i]);
}

void Archiver::complain(int repository, const core::UploadOutcome& outcome) {
  Upload& upload = uploads_.at(static_cast<std::size_t>(repository));
  with_archive_shared([&](ArchiveShared& memory) {
    RepositoryStatus& status = memory.repository[repository];
    note_error(status, outcome.message.c_str(), outcome.hint.c_str());
    status.archiver_failing = true;
  });
  if (upload.warnings.pass(std::to_string(static_cast<int>(outcome.kind))))
    log_line(true, std::string("archiving to the ") + repository_name(repository) + " store fails: " + outcome.message, outcome.hint);
}

// Counters of the pipelines since the last call, and what has failed.
void Archiver::publish() {
  for (int i = 0; i < repositories; ++i) {
    Upload& upload = uploads_.at(static_cast<std::size_t>(i));
    if (!upload.pipeline) continue;
    const core::PipelineCounters now = upload.pipeline->counters();
    const core::PipelineCounters before = std::exchange(upload.published, now);
    const std::uint64_t retries = upload.access->retries->load();
    const std::uint64_t retries_before = std::exchange(upload.published_retries, retries);
    with_archive_shared([&](ArchiveShared& memory) {
      RepositoryStatus& status = memory.repository[i];
      status.files += static_cast<std::int64_t>(now.files - before.files);
      status.file_bytes += static_cast<std::int64_t>(now.bytes - before.bytes);
      note_stored(status, static_cast<std::int64_t>(now.object_bytes - before.object_bytes));
      status.failures += static_cast<std::int64_t>(now.failures - before.failures);
      status.retries += static_cast<std::int64_t>(retries - retries_before);
    });
    for (const core::UploadOutcome& failure : upload.pipeline->take_failures()) complain(i, failure);
  }
}

void Archiver::acknowledged(const core::WalFileName& file) {
  for (int i = 0; i < repositories; ++i) {
    Upload& upload = uploads_.at(static_cast<std::size_t>(i));
    if (!upload.pipeline || upload.pipeline->take(file.name).state != UploadState::stored) continue;
    upload.warnings.clear();
    with_archive_shared([&](ArchiveShared& memory) {
      RepositoryStatus& status = memory.repository[i];
      strlcpy(status.last_file, file.name.c_str(), sizeof status.last_file);
      status.last_file_at = GetCurrentTimestamp();
      status.archiver_failing = false;
      const core::SegmentSize size(cluster_.segment_size);
      const auto id = core::parse_segment_name(file.name, size);
      if (id) note_archived(status, id->timeline, size.start_of(id->number + 1));
    });
  }
}

// In the last cycle of a shutdown pg_control says so: the checkpointer has ended then (postmaster.c, PM_SHUTDOWN_2).
bool Archiver::shutdown_time_is_over() {
  const core::SteadyTime now = thread_clock().steady_now();
  if (now - control_read_ >= control_interval) {
    control_read_ = now;
    const bool shut_down = call_pg([] {
      bool valid = false;
      ControlFileData* control = get_controlfile(DataDir, &valid);
      const bool down = valid && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);
      pfree(control);
      return down;
    });
    if (!shut_down) shut_down_since_.reset();
    if (shut_down && !shut_down_since_) shut_down_since_ = now;
  }
  return shut_down_since_ && now - *shut_down_since_ >= milliseconds(guc::archive_shutdown_timeout);
}

bool Archiver::must_give_up() {
  // SIGHUP: PostgreSQL reads the settings between two calls.
  return ShutdownRequestPending || ConfigReloadPending || shutdown_time_is_over();
}

// False: not yet. Otherwise `stored` says how it ended.
bool Archiver::finished(const core::WalFileName& file, bool& stored) {
  const core::UploadOutcome outcome = uploads_[primary].pipeline->look(file.name);
  stored = outcome.state == UploadState::stored;
  return outcome.state != UploadState::waiting;
}

bool Archiver::archive(const std::string& name) {
  const auto file = core::parse_wal_file_name(name);
  if (!file) {
    log_line(true, "\"" + name + "\" is not a file that dbops knows how to archive");
    return false;
  }
  reload();
  Upload& main = uploads_[primary];
  if (!main.pipeline) {
    complain(primary, {.state = UploadState::failed, .kind = main.open_error_kind, .message = main.open_error, .hint = main.open_hint});
    return false;
  }
  if (shutdown_time_is_over()) return false;
  for (Upload& upload : uploads_)
    if (upload.pipeline) upload.pipeline->forget_failed();
  offer(*file);
  for (bool stored = false;;) {
    look_ahead(*file);
    publish();
    if (finished(*file, stored)) {
      if (stored) acknowledged(*file);
      return stored;
    }
    if (must_give_up() || !event_.wait(tick)) return false;
  }
}

} // namespace dbops::server::archive
