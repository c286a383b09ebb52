#include "server/archive/archiver.h"

#include <algorithm>
#include <limits>

#include "core/base/file.h"
#include "core/wal/archive_marks.h"
#include "server/compat.h"
#include "server/guc.h"

extern "C" {
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "common/controldata_utils.h"
#include "postmaster/interrupt.h"
#include "replication/walreceiver.h"
}

namespace dbops::server::archive {

namespace {

using core::milliseconds;
using core::SegmentStanding;
using core::UploadState;
using core::WalFileKind;

constexpr std::size_t window_size = 256;       // file names in memory, for each repository
constexpr milliseconds rescan_interval{200};   // of a directory that had fewer files than that, at least
constexpr int scan_share = 20;                 // no more than 1/20 of the time goes into reading that directory
constexpr milliseconds tick{1000};             // longest sleep in the callback
constexpr milliseconds control_interval{500};  // between two looks at pg_control
constexpr milliseconds revival_interval{5000}; // between two tries with a store that fails
constexpr milliseconds offsite_patience{2000}; // for a file that only the offsite store lacks, when the backlog is full
// How long the offsite store goes ahead before PostgreSQL is told that the first one fails: then it pauses for a while.
constexpr milliseconds offsite_share{10'000};
constexpr std::uint64_t memory_for_objects = 24 << 20;

core::TimelineId timeline_of(const core::WalFileName& file) {
  std::uint64_t timeline = 0;
  core::parse_hex_field(file.timeline, timeline);
  return static_cast<core::TimelineId>(timeline);
}

core::UploadOutcome failed(const ThreadFailure& failure) {
  return {.state = UploadState::failed, .kind = failure.kind, .message = failure.message, .hint = failure.hint};
}

std::filesystem::path wal_directory(const Cluster& cluster) {
  return std::filesystem::path(cluster.data_directory) / "pg_wal";
}

} // namespace

Archiver::Archiver()
    : cluster_(this_cluster()), uploads_{Upload(core::SegmentSize(cluster_.segment_size)),
                                         Upload(core::SegmentSize(cluster_.segment_size))},
      backlog_file_(cluster_.data_directory) {
  with_archive_shared([](ArchiveShared& memory) {
    memory.archiver_pid = MyProcPid;
    for (RepositoryStatus& status : memory.repository)
      status.ahead = {};
  });
}

void Archiver::start_pipeline(Upload& upload) {
  upload.pipeline = std::make_unique<core::ArchivePipeline>(core::PipelineSetup{
      .store = upload.access->store,
      .fence = upload.access->fence,
      .keys = upload.access->keys,
      .clock = thread_clock(),
      .random = thread_random(),
      .writer = {.system_identifier = cluster_.system_identifier,
                 .origin = cluster_.owner.description,
                 .encoding = {.compression_level = settings_.compression_level}},
      .directory = wal_directory(cluster_),
      .workers = static_cast<std::size_t>(settings_.workers),
      .memory = memory_for_objects,
      .largest_file = cluster_.segment_size,
      .file_timeout = settings_.upload_timeout,
      .wake = [this] { event_.signal(); }, // the archiver is never freed
  });
  upload.published = {};
  upload.published_retries = 0;
  upload.hangs = false;
}

void Archiver::collect_opened() {
  for (int i = 0; i < repositories; ++i) {
    Upload& upload = uploads_.at(static_cast<std::size_t>(i));
    std::optional<ThreadFailure> failure;
    if (auto opened = upload.opening.take()) {
      upload.access = std::move(opened->access);
      if (upload.access)
        start_pipeline(upload);
      else
        failure = std::move(opened->failure);
    } else if (upload.opening.takes_long()) {
      failure = no_answer();
    }
    if (failure) complain(i, failed(*failure));
  }
}

void Archiver::request_stop() {
  for (Upload& upload : uploads_) {
    upload.opening.request_stop();
    if (upload.pipeline) upload.pipeline->request_stop();
  }
}

bool Archiver::ended() const {
  return std::ranges::all_of(uploads_, [](const Upload& upload) {
    return upload.opening.ended() && (!upload.pipeline || upload.pipeline->ended());
  });
}

void Archiver::close(core::SteadyTime deadline) {
  for (Upload& upload : uploads_) {
    upload.opening.stop(deadline);
    if (upload.pipeline && !upload.pipeline->shutdown(deadline)) {
      leave_thread_behind();
      log_line(true, "an upload did not stop in time and is left behind");
    }
    upload.pipeline.reset();
    upload.access.reset();
    upload.window.clear();
    upload.lacking = 0;
  }
}

void Archiver::stop() {
  const core::SteadyTime deadline = thread_clock().steady_now() + thread_stop_time;
  watch_.request_stop();
  request_stop();
  watch_.stop(deadline);
  close(deadline);
}

void Archiver::enter(int repository, const std::string& url) {
  Upload& upload = uploads_.at(static_cast<std::size_t>(repository));
  if (upload.url == url) return;
  upload.url = url;
  upload.stored = core::StoredFiles(core::SegmentSize(cluster_.segment_size));
  with_archive_shared([&](ArchiveShared& memory) { enter_store(memory.repository[repository], store_hash(url)); });
}

// Settings that changed take effect with the next file. What was under way is stopped, and made again: uploads may be
// repeated. False: it is not known yet what they are, or what has to be known before this file is archived.
bool Archiver::reload(const core::WalFileName& next) {
  std::optional<Settings> now = watch_.read(event_);
  if (!now) {
    complain(primary, failed(no_answer()));
    return false;
  }
  if (!(*now == settings_)) {
    publish();
    request_stop();
    wait_for_threads(event_, [this] { return ended(); });
    close(thread_clock().steady_now());
    settings_ = std::move(*now);
  }
  enter(primary, settings_.store);
  enter(offsite, settings_.offsite_store);
  for (Upload& upload : uploads_)
    if (!upload.pipeline && !upload.url.empty() && !upload.opening.running())
      upload.opening.start(upload.url, settings_, cluster_, event_);
  locate();
  remember_offsite(next);
  return look_for_forgotten(next);
}

// Files are acknowledged with the offsite store of now, or without any: what that means for the gaps in it is written
// down before. A data directory without space holds up no upload: see verdict().
void Archiver::remember_offsite(const core::WalFileName& next) {
  remembered_ = false;
  try {
    if (settings_.offsite_store.empty())
      backlog_file_.forget_server(next);
    else if (!in_recovery_ && archive_shared() != nullptr)
      check_offsite(cluster_, settings_.offsite_store, timeline_, core::OffsiteBacklogFile::Asker::archiver);
    remembered_ = true;
  } catch (const core::Error& error) {
    if (backlog_warnings_.pass(error.what()))
      log_line(true, std::string("cannot write down what the offsite store may lack: ") + error.what(), error.hint());
  }
}

// No ancestors: the file is not there any more, or not readable. Then only the owner may write what is of another
// timeline.
core::OwnPosition Archiver::position_at(core::TimelineId timeline, core::Lsn written) {
  constexpr std::uint64_t largest_history = 1 << 20; // bytes
  core::OwnPosition position{.timeline = timeline, .written = written, .ancestors = {}};
  if (timeline < 2) return position;
  if (const auto known = histories_.find(timeline); known != histories_.end()) {
    position.ancestors = known->second;
    return position;
  }
  const std::filesystem::path path = wal_directory(cluster_) / (core::hex_field(timeline, 8) + ".history");
  try {
    position.ancestors = core::parse_timeline_history(core::as_text(core::read_file(path, largest_history)), timeline);
    histories_[timeline] = position.ancestors;
  } catch (const core::Error& error) {
    if (history_warnings_.pass(error.what()))
      log_line(true, std::string("cannot use the history of this timeline: ") + error.what());
  }
  return position;
}

// PostgreSQL asks for all that is ready; what has lost its mark, only this finds. Whoever has it ready first, the next
// scan sees it. False: the file is the timeline's history, and what its ancestors have left could not be offered. That
// it waits is how one knows that it was not (core::offer_ancestor_segments).
bool Archiver::look_for_forgotten(const core::WalFileName& asked) {
  if (in_recovery_) return true;
  const core::Lsn flushed = GetFlushRecPtr(nullptr);
  const bool is_new = timeline_ != seen_timeline_;
  const core::SegmentSize size(cluster_.segment_size);
  core::SegmentNumber end = size.segment_of(flushed);
  if (const auto id = core::parse_segment_name(asked.name, size); id && id->timeline == timeline_) {
    end = std::max(end, id->number); // it is offered a moment before its end counts as flushed
    must_scan_ = must_scan_ || (id->number != asked_segment_ && id->number != asked_segment_ + 1);
    asked_segment_ = id->number;
  }
  bool offered = !is_new || offer_ancestors(cluster_, timeline_);
  try {
    if (is_new || looked_up_to_ < end) {
      const std::size_t forgotten = offer_forgotten(cluster_, timeline_, std::max(flushed, size.start_of(end)),
                                                    is_new ? std::nullopt : std::optional(looked_up_to_));
      // The history may have been among them.
      if (is_new && forgotten > 0) offered = offer_ancestors(cluster_, timeline_);
    }
  } catch (const core::Error& error) {
    if (forgotten_warnings_.pass(error.what()))
      log_line(true, std::string("cannot look for WAL that waits to be archived: ") + error.what(), error.hint());
    offered = false;
  }
  if (!offered) return !is_new || asked.name != core::history_name(timeline_);
  must_scan_ = must_scan_ || is_new;
  seen_timeline_ = timeline_;
  looked_up_to_ = end;
  return true;
}

// What PostgreSQL offers on a primary is finished. A standby with archive_mode = always is offered a segment as soon as
// it has the file: restored, perhaps with padding where the archive had no more, or half filled when the timeline that
// is received ends (walreceiver.c). Only what is replayed, or received and flushed, is known to be there.
void Archiver::locate() {
  in_recovery_ = RecoveryInProgress();
  timeline_ = 0;
  positions_.clear();
  if (!in_recovery_) {
    (void)GetFlushRecPtr(&timeline_);
    positions_.push_back(position_at(timeline_, std::numeric_limits<core::Lsn>::max()));
    return;
  }
  TimeLineID replayed_on = 0, received_on = 0;
  const core::Lsn replayed = GetXLogReplayRecPtr(&replayed_on);
  const core::Lsn received = GetWalRcvFlushRecPtr(nullptr, &received_on);
  if (replayed != 0) positions_.push_back(position_at(replayed_on, replayed));
  if (received != 0) positions_.push_back(position_at(received_on, received));
}

// As the position says that knows most of it.
core::SegmentStanding Archiver::standing(const core::WalFileName& file) const {
  const core::SegmentSize size(cluster_.segment_size);
  const auto id = core::parse_segment_name(file.segment, size);
  SegmentStanding best = SegmentStanding::foreign;
  if (!id) return best;
  for (const core::OwnPosition& position : positions_) {
    const SegmentStanding standing = core::standing_of(*id, size, position);
    if (standing == SegmentStanding::whole || standing == SegmentStanding::remnant) return standing;
    if (standing == SegmentStanding::unfinished) best = standing;
  }
  return best;
}

// What this server's own timeline gets, only its owner writes. All else is written by whoever holds the same bytes: a
// standby (archive_mode = always) has its primary's; a promoted server has its ancestors' histories, their segments
// before the switch, and the unfinished one as .partial.
std::optional<core::Fencing> Archiver::fencing_of(const core::WalFileName& file) const {
  if (file.kind == WalFileKind::partial) return core::Fencing::content;
  // Its history is what makes others follow a timeline.
  if (!in_recovery_ && timeline_of(file) == timeline_) return core::Fencing::owner;
  if (file.kind == WalFileKind::history) return core::Fencing::content;
  const SegmentStanding own = standing(file);
  if (file.kind == WalFileKind::backup) {
    const bool ancestral = own == SegmentStanding::whole || own == SegmentStanding::remnant;
    return in_recovery_ || ancestral ? core::Fencing::content : core::Fencing::owner;
  }
  if (own == SegmentStanding::whole) return core::Fencing::content;
  if (own == SegmentStanding::remnant) return core::Fencing::remnant;
  return in_recovery_ ? std::nullopt : std::optional(core::Fencing::owner);
}

void Archiver::offer(Upload& upload, const core::WalFileName& file) {
  const auto fencing = fencing_of(file);
  if (upload.pipeline && fencing) upload.pipeline->offer(file, *fencing);
}

bool Archiver::wants_more(const Upload& upload) const {
  if (!upload.pipeline || upload.window.size() >= window_size / 2) return false;
  const bool runs_dry =
      upload.lacking > upload.window.size() && upload.window.size() < 2 * static_cast<std::size_t>(settings_.workers);
  return runs_dry || thread_clock().steady_now() - scanned_ >= scan_pause_;
}

// The files behind the one that is asked for, a bounded number of them.
void Archiver::read_windows(const core::WalFileName& asked) {
  for (Upload& upload : uploads_)
    std::erase_if(upload.window, [&](const core::WalFileName& file) { return !core::is_archived_before(asked, file); });
  if (must_scan_ || std::ranges::any_of(uploads_, [this](const Upload& upload) { return wants_more(upload); }))
    scan(asked);
}

void Archiver::scan(const core::WalFileName& asked) {
  const core::SteadyTime begin = thread_clock().steady_now();
  std::vector<core::FirstFiles> first(repositories, core::FirstFiles(window_size));
  core::FirstFiles oldest(1);
  for (Upload& upload : uploads_)
    upload.lacking = 0;
  core::visit_ready_files(wal_directory(cluster_) / "archive_status", [&](const core::WalFileName& file) {
    if (standing(file) == SegmentStanding::whole && file.kind == WalFileKind::segment) oldest.offer(file);
    for (std::size_t i = 0; i < repositories; ++i) {
      Upload& upload = uploads_.at(i);
      if (upload.url.empty() || upload.stored.contains(file)) continue;
      ++upload.lacking;
      if (upload.pipeline && core::is_archived_before(asked, file)) first.at(i).offer(file);
    }
  });
  must_scan_ = false;
  scanned_ = thread_clock().steady_now();
  scan_pause_ = std::max(rescan_interval, std::chrono::ceil<milliseconds>(scanned_ - begin) * scan_share);
  std::vector<core::WalFileName> found = oldest.take();
  oldest_segment_ = found.empty() ? std::nullopt : std::optional(std::move(found.front()));
  for (std::size_t i = 0; i < repositories; ++i) {
    Upload& upload = uploads_.at(i);
    upload.window = first.at(i).take();
    std::vector<std::string> names{asked.name};
    for (const core::WalFileName& file : upload.window)
      names.push_back(file.name);
    if (upload.pipeline) upload.pipeline->retain(names);
  }
}

// A store that fails is asked for one file now and then, the first that it lacks.
void Archiver::revive(Upload& upload, const core::WalFileName& asked) {
  upload.revived = thread_clock().steady_now();
  if (!upload.pipeline) return;
  upload.pipeline->forget_failed();
  if (!upload.stored.contains(asked))
    offer(upload, asked);
  else if (!upload.window.empty())
    offer(upload, upload.window.front());
}

// Other files that are ready go out meanwhile: PostgreSQL asks for one at a time.
void Archiver::look_ahead(const core::WalFileName& asked) {
  collect_opened();
  for (Upload& upload : uploads_)
    harvest(upload, asked);
  read_windows(asked);
  for (Upload& upload : uploads_) {
    if (!upload.pipeline) continue;
    if (upload.pipeline->failing()) {
      if (thread_clock().steady_now() - upload.revived >= revival_interval) revive(upload, asked);
      continue;
    }
    for (const core::WalFileName& file : upload.window)
      offer(upload, file);
  }
}

// What was stored since the last call.
void Archiver::harvest(Upload& upload, const core::WalFileName& asked) {
  if (!upload.pipeline) return;
  const auto take = [&](const core::WalFileName& file) {
    if (upload.pipeline->look(file.name).state != UploadState::stored) return false;
    upload.pipeline->take(file.name);
    upload.stored.add(file, file.kind == WalFileKind::segment && standing(file) == SegmentStanding::whole);
    if (upload.lacking > 0) --upload.lacking;
    return true;
  };
  const bool asked_is_there = take(asked);
  const bool others = std::erase_if(upload.window, take) > 0;
  if ((asked_is_there || others) && !upload.pipeline->failing()) upload.warnings.clear();
}

void Archiver::complain(int repository, const core::UploadOutcome& outcome) {
  Upload& upload = uploads_.at(static_cast<std::size_t>(repository));
  with_archive_shared([&](ArchiveShared& memory) {
    RepositoryStatus& status = memory.repository[repository];
    note_error(status, outcome.message.c_str(), outcome.hint.c_str());
    status.archiver_failing = true;
  });
  if (upload.warnings.pass(std::to_string(static_cast<int>(outcome.kind))))
    log_line(true, std::string("archiving to the ") + repository_name(repository) + " store fails: " + outcome.message,
             outcome.hint);
}

// What each store has of the files that wait.
void Archiver::publish_ahead() {
  for (int i = 0; i < repositories; ++i) {
    const core::StoredFiles& stored = uploads_.at(static_cast<std::size_t>(i)).stored;
    StoredAhead ahead{};
    for (const auto& [begin, end] : stored.segments()) {
      if (ahead.segment_ranges == std::ssize(ahead.segments)) break;
      ahead.segments[ahead.segment_ranges++] = {.timeline = begin.first, .first = begin.second, .end = end};
    }
    for (const std::string& name : stored.others()) {
      if (ahead.other_files == std::ssize(ahead.others)) break;
      strlcpy(ahead.others[ahead.other_files++], name.c_str(), sizeof ahead.others[0]);
    }
    with_archive_shared([&](ArchiveShared& memory) { memory.repository[i].ahead = ahead; });
  }
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
    for (const core::UploadOutcome& failure : upload.pipeline->take_failures())
      complain(i, failure);
    const bool hangs = upload.pipeline->hangs();
    if (hangs && !upload.hangs) complain(i, failed(no_answer()));
    upload.hangs = hangs;
    const bool failing = hangs || upload.pipeline->failing();
    with_archive_shared([&](ArchiveShared& memory) { memory.repository[i].archiver_failing = failing; });
  }
}

// All before the segment that is asked for is acknowledged, but for what PostgreSQL forgot to ask for.
std::optional<core::SegmentId> Archiver::first_waiting(const core::WalFileName& asked) const {
  const core::SegmentSize size(cluster_.segment_size);
  std::optional<core::SegmentId> first;
  if (asked.kind == WalFileKind::segment && standing(asked) == SegmentStanding::whole)
    first = core::parse_segment_name(asked.name, size);
  const auto oldest = oldest_segment_ ? core::parse_segment_name(oldest_segment_->name, size) : std::nullopt;
  if (oldest && (!first || oldest->number < first->number)) first = oldest;
  return first;
}

// Without its history nobody follows a timeline: then its WAL is of no use.
bool Archiver::lacks_history(const Upload& upload) {
  if (in_recovery_ || archived_history_ == timeline_) return false;
  if (core::history_waits(wal_directory(cluster_), timeline_))
    return !upload.stored.contains(*core::parse_wal_file_name(core::history_name(timeline_)));
  archived_history_ = timeline_;
  return false;
}

// What is behind one that PostgreSQL forgot may be acknowledged already.
core::SegmentNumber Archiver::end_of_stored(const Upload& upload, const core::SegmentId& first) const {
  const core::SegmentSize size(cluster_.segment_size);
  core::SegmentNumber end = upload.stored.end_of_run(first.number);
  if (end == first.number || first.timeline != timeline_) return end;
  while (end < looked_up_to_ &&
         core::is_done(wal_directory(cluster_), core::segment_name({.timeline = timeline_, .number = end}, size)))
    end = upload.stored.end_of_run(end + 1);
  return end;
}

// How far each store has everything: up to the first segment that it lacks. All before the first one that waits is
// there, unless the offsite store was left behind.
void Archiver::publish_positions(const core::WalFileName& asked) {
  const core::SegmentSize size(cluster_.segment_size);
  const auto first = first_waiting(asked);
  if (!first || must_scan_ || (!in_recovery_ && (seen_timeline_ != timeline_ || looked_up_to_ < first->number))) return;
  // Before the switch, an ancestor's WAL is this timeline's.
  const core::TimelineId timeline = in_recovery_ ? first->timeline : timeline_;
  for (int i = 0; i < repositories; ++i) {
    const Upload& upload = uploads_.at(static_cast<std::size_t>(i));
    if (!upload.stored.contains(asked) || lacks_history(upload)) continue;
    if (i == offsite && (!remembered_ || backlog_file_.read(upload.url))) continue;
    const core::SegmentNumber end = end_of_stored(upload, *first);
    if (end == first->number) continue;
    with_archive_shared([&](ArchiveShared& memory) {
      note_archived(memory.repository[i], store_hash(upload.url), timeline, size.start_of(end));
    });
  }
}

void Archiver::acknowledged(const core::WalFileName& file) {
  if (oldest_segment_ && oldest_segment_->name == file.name) oldest_segment_.reset();
  for (int i = 0; i < repositories; ++i) {
    Upload& upload = uploads_.at(static_cast<std::size_t>(i));
    if (!upload.stored.contains(file)) {
      if (upload.lacking > 0) --upload.lacking; // it does not wait for this store any more
      continue;
    }
    upload.stored.remove(file);
    with_archive_shared([&](ArchiveShared& memory) {
      RepositoryStatus& status = memory.repository[i];
      strlcpy(status.last_file, file.name.c_str(), sizeof status.last_file);
      status.last_file_at = GetCurrentTimestamp();
    });
  }
}

// In the last cycle of a shutdown pg_control says so: the checkpointer has ended then (postmaster.c, PM_SHUTDOWN_2).
bool Archiver::shutdown_time_is_over() {
  const core::SteadyTime now = thread_clock().steady_now();
  if (now - control_read_ >= control_interval) {
    const bool shut_down = call_pg([] {
      bool valid = false;
      ControlFileData* control = get_controlfile(DataDir, &valid);
      const bool down = valid && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);
      pfree(control);
      return down;
    });
    control_read_ = now;
    if (!shut_down) shut_down_since_.reset();
    if (shut_down && !shut_down_since_) shut_down_since_ = now;
  }
  return shut_down_since_ && now - *shut_down_since_ >= milliseconds(guc::archive_shutdown_timeout);
}

bool Archiver::must_give_up() {
  // SIGHUP: PostgreSQL reads the settings between two calls.
  return ShutdownRequestPending || ConfigReloadPending || shutdown_time_is_over();
}

core::UploadState Archiver::state_in(Upload& upload, const core::WalFileName& file) {
  if (upload.stored.contains(file)) return UploadState::stored;
  if (!upload.pipeline) return upload.opening.running() ? UploadState::waiting : UploadState::failed;
  const UploadState state = upload.pipeline->look(file.name).state;
  // A failure of another file has emptied the queue.
  if (state == UploadState::unknown) offer(upload, file);
  // What was stored this moment is taken by the next harvest.
  return state == UploadState::failed ? state : UploadState::waiting;
}

// Beyond dbops.offsite_max_backlog of WAL that waits for the offsite store, segments go without it: first it is written
// down, in the data directory, that it lacks them. The streamer copies them later; where there is none, as on a
// standby, nothing goes.
bool Archiver::may_leave_offsite_behind(const core::WalFileName& file) {
  if (in_recovery_ || !remembered_ || archive_shared() == nullptr) return false;
  const std::uint64_t waiting = uploads_[offsite].lacking * cluster_.segment_size;
  if (waiting <= static_cast<std::uint64_t>(guc::offsite_max_backlog) << 20) return false;
  try {
    backlog_file_.add(settings_.offsite_store, file);
  } catch (const core::Error& error) {
    if (backlog_warnings_.pass(error.what()))
      log_line(true, std::string("no segment can go without the offsite store: ") + error.what(), error.hint());
    return false;
  }
  return true;
}

// Durable in the first store is the condition for all else. What both stores have needs no note.
std::optional<bool> Archiver::verdict(const core::WalFileName& file, milliseconds waited) {
  const UploadState here = state_in(uploads_[primary], file);
  if (here == UploadState::failed) return false;
  if (here != UploadState::stored) return std::nullopt;
  if (settings_.offsite_store.empty()) return remembered_;
  const UploadState there = state_in(uploads_[offsite], file);
  if (there == UploadState::stored) return true;
  const bool fails = uploads_[offsite].pipeline && uploads_[offsite].pipeline->failing();
  const bool out = there == UploadState::failed || fails || waited >= offsite_patience ||
                   backlog_file_.read(settings_.offsite_store).has_value();
  if (out && may_leave_offsite_behind(file)) return true;
  if (there == UploadState::failed) return false;
  return std::nullopt;
}

bool Archiver::offsite_goes_ahead(core::milliseconds waited) const {
  const Upload& upload = uploads_[offsite];
  return upload.pipeline && !upload.pipeline->failing() && !upload.window.empty() && waited < offsite_share;
}

// On a standby: until the segment is replayed, or received. False: PostgreSQL shall ask again, perhaps for another
// file.
bool Archiver::wait_until_written(const core::WalFileName& file) {
  while (!fencing_of(file)) {
    if (must_give_up() || !event_.wait(tick)) return false;
    const core::ReadyFiles ready = core::list_ready_files(wal_directory(cluster_) / "archive_status", 1);
    if (ready.first.empty() || core::is_archived_before(ready.first.front(), file)) return false;
    locate();
  }
  return true;
}

bool Archiver::archive(const std::string& name) {
  const auto file = core::parse_wal_file_name(name);
  if (!file) {
    log_line(true, "\"" + name + "\" is not a file that dbops knows how to archive");
    return false;
  }
  if (!reload(*file) || !wait_until_written(*file) || shutdown_time_is_over()) return false;
  for (Upload& upload : uploads_)
    revive(upload, *file);
  const core::SteadyTime begin = thread_clock().steady_now();
  for (;;) {
    if (in_recovery_) locate();
    look_ahead(*file);
    publish();
    publish_ahead();
    publish_positions(*file);
    const auto waited = std::chrono::floor<milliseconds>(thread_clock().steady_now() - begin);
    const std::optional<bool> decided = verdict(*file, waited);
    if (decided && *decided) {
      acknowledged(*file);
      return true;
    }
    if ((decided && !offsite_goes_ahead(waited)) || must_give_up() || !event_.wait(tick)) return false;
  }
}

} // namespace dbops::server::archive
