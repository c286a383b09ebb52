#include "server/archive/catch_up.h"

#include <algorithm>

#include "server/archive/shared.h"

extern "C" {
#include "access/xlog.h"
}

namespace dbops::server::archive {

namespace {

using core::milliseconds;

constexpr std::size_t objects_in_a_step = 16;
constexpr milliseconds first_pause{1'000}, longest_pause{60'000};
constexpr milliseconds first_damaged_pause{10'000}, longest_damaged_pause{3'600'000};

// Where the second repository has everything up to, from a key below the cluster's prefix. What still waits to be
// archived the first one may lack, and have what is behind it.
void publish(const std::string& store, const std::string& position, const Cluster& cluster) {
  const core::SegmentSize size(cluster.segment_size);
  const auto lacking = core::first_lacking_segment(position, size);
  if (!lacking) return;
  TimeLineID timeline = 0;
  const core::Lsn flushed = GetFlushRecPtr(&timeline);
  const core::Lsn upto = std::min(size.start_of(lacking->number), archived_by_status(cluster, timeline, flushed));
  with_archive_shared([&](ArchiveShared& memory) {
    note_archived(memory.repository[offsite], store_hash(store), lacking->timeline, upto);
  });
}

// Finds out where the second repository's gaps begin, as long as it has nothing that came later. Durable when it
// returns: from then on the repository fills. False: a file was let go meanwhile.
bool find_beginning(core::OffsiteBacklog& backlog, const core::RepositoryCopier& copier, const Cluster& cluster,
                    const core::CallContext& context) {
  const std::string beginning = copier.beginning(backlog.own_from, context);
  const std::string position = backlog.after ? std::min(*backlog.after, beginning) : beginning;
  if (!core::OffsiteBacklogFile(cluster.data_directory).advance(backlog, position)) return false;
  backlog.after = position;
  backlog.check = false;
  return true;
}

} // namespace

namespace {

// Two repositories of the cluster while objects are copied from one to the other.
struct Copying {
  Copying(const Settings& settings, const Cluster& cluster, const std::stop_token& stop)
      : from(open_repository(settings.store, settings, cluster)),
        to(open_repository(settings.offsite_store, settings, cluster)),
        context{.stop = stop,
                .deadline = thread_clock().steady_now() + settings.upload_timeout * int(objects_in_a_step)},
        copier(*from.store, *to.store, cluster.system_identifier, from.keys.get()) {
    // One that is not mounted has nothing that could be lacking elsewhere.
    from.fence->require_repository(context);
    to.fence->require_repository(context);
  }
  RepositoryAccess from, to;
  core::CallContext context;
  core::RepositoryCopier copier;
};

} // namespace

CatchUp::Result CatchUp::run(const Settings& settings, const Cluster& cluster, const core::OffsiteBacklog& backlog,
                             const std::stop_token& stop) {
  Result result{.backlog = backlog, .step = {.position = backlog.after.value_or("")}, .failure = {}};
  try {
    Copying copying(settings, cluster, stop);
    if (backlog.check && !find_beginning(result.backlog, copying.copier, cluster, copying.context)) return result;
    result.step = copying.copier.copy(result.backlog.after.value(), objects_in_a_step, copying.context);
  } catch (...) {
    result.failure = describe_thread_failure();
  }
  return result;
}

CatchUp::Result CatchUp::try_again(const Settings& settings, const Cluster& cluster,
                                   const std::vector<std::string>& names, const std::stop_token& stop) {
  Result result{.backlog = {.store = settings.offsite_store, .after = {}, .own_from = {}},
                .tried = {},
                .step = {},
                .failure = {}};
  try {
    Copying copying(settings, cluster, stop);
    for (const std::string& name : names) {
      if (thread_clock().steady_now() >= copying.context.deadline) break;
      for (core::DamagedObject& still : copying.copier.copy_again({name}, copying.context))
        result.step.damaged.push_back(std::move(still));
      result.tried.push_back(name);
    }
  } catch (...) {
    result.failure = describe_thread_failure();
  }
  return result;
}

void CatchUp::drive(const Settings& settings, const ThreadEvent& event) {
  const core::SteadyTime now = thread_clock().steady_now();
  if (settings.offsite_store.empty() || task_.running() || now < not_before_) return;
  if (const auto backlog = file_.read(settings.offsite_store)) {
    task_.start([settings, cluster = cluster_,
                 backlog = *backlog](const std::stop_token& stop) { return run(settings, cluster, backlog, stop); },
                event);
    return;
  }
  if (now < damaged_not_before_) return;
  auto damaged = file_.damaged(settings.offsite_store);
  if (damaged.empty()) return;
  task_.start([settings, cluster = cluster_, damaged = std::move(damaged)](
                  const std::stop_token& stop) { return try_again(settings, cluster, damaged, stop); },
              event);
}

void CatchUp::fail(const ThreadFailure& failure) {
  pause_ = std::clamp(pause_ * 2, first_pause, longest_pause);
  not_before_ = thread_clock().steady_now() + pause_;
  if (warnings_.pass(std::to_string(static_cast<int>(failure.kind))))
    log_line(true, "the offsite store cannot catch up yet: " + failure.message, failure.hint);
}

namespace {

std::vector<std::string> names_of(const std::vector<core::DamagedObject>& damaged) {
  std::vector<std::string> names;
  for (const core::DamagedObject& object : damaged)
    names.push_back(object.name);
  return names;
}

} // namespace

void CatchUp::name_damaged(const std::vector<core::DamagedObject>& damaged) {
  if (damaged.empty()) return;
  for (const core::DamagedObject& object : damaged)
    log_line(true, object.problem, damaged_object_hint);
  with_archive_shared([&](ArchiveShared& memory) {
    note_error(memory.repository[offsite], damaged.back().problem.c_str(), damaged_object_hint);
  });
  damaged_pause_ = std::clamp(damaged_pause_ * 2, first_damaged_pause, longest_damaged_pause);
  damaged_not_before_ = thread_clock().steady_now() + damaged_pause_;
}

void CatchUp::keep_tried(const Result& result) {
  file_.tried_again(result.backlog.store, result.tried, names_of(result.step.damaged));
  name_damaged(result.step.damaged);
  if (!result.step.damaged.empty()) return;
  damaged_pause_ = milliseconds(0);
  log_line(false, "objects that could not be copied to the offsite store are there now, or gone from the first one");
}

// False: a file that was let go meanwhile may lie behind the position. Then the next look begins where the file says.
bool CatchUp::keep(const Result& result) {
  if (result.backlog.check) return false; // it is not known yet where to begin
  const std::vector<std::string> damaged = names_of(result.step.damaged);
  const bool kept = result.step.complete ? file_.clear(result.backlog, damaged)
                                         : file_.advance(result.backlog, result.step.position, damaged);
  if (kept) name_damaged(result.step.damaged);
  return kept;
}

bool CatchUp::collect() {
  const auto result = task_.take();
  if (!result) return false;
  bool kept = false;
  try {
    if (!result->tried.empty())
      keep_tried(*result);
    else if (!result->failure)
      kept = keep(*result);
  } catch (const core::Error&) { // of the data directory, or too much is damaged
    fail(describe_thread_failure());
    return false;
  }
  if (result->failure) fail(*result->failure);
  if (!kept) return false;
  pause_ = milliseconds(0);
  warnings_.clear();
  try {
    publish(result->backlog.store, result->step.position, cluster_);
  } catch (const core::Error&) { // of the data directory: what is stored is not called durable yet
    fail(describe_thread_failure());
  }
  if (result->step.complete) {
    log_line(false, "the offsite store has caught up");
    // The archiver has no file left to find that out with.
    with_archive_shared([](ArchiveShared& memory) { memory.repository[offsite].archiver_failing = false; });
  }
  return result->step.complete;
}

} // namespace dbops::server::archive
