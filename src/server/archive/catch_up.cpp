#include "server/archive/catch_up.h"

#include <algorithm>

#include "core/wal/layout.h"
#include "server/archive/shared.h"

namespace dbops::server::archive {

namespace {

using core::milliseconds;

constexpr std::size_t objects_in_a_step = 16;
constexpr milliseconds first_pause{1'000}, longest_pause{60'000};

// Where the second repository has everything up to, from a key below the cluster's prefix.
void publish(const std::string& store, const std::string& position, const Cluster& cluster) {
  const core::SegmentSize size(cluster.segment_size);
  const auto key = core::parse_wal_key(position);
  const auto id = key ? core::parse_segment_name(key->file.segment, size) : std::nullopt;
  if (!id) return;
  with_archive_shared([&](ArchiveShared& memory) {
    RepositoryStatus& status = memory.repository[offsite];
    // Of the segment that a chunk belongs to only what comes before it is sure to be there.
    note_archived(status, store_hash(store), id->timeline, size.start_of(id->number + (key->chunk ? 0 : 1)));
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

CatchUp::Result CatchUp::run(const Settings& settings, const Cluster& cluster, const core::OffsiteBacklog& backlog,
                             const std::stop_token& stop) {
  Result result{.backlog = backlog, .step = {.position = backlog.after.value_or("")}, .failure = {}};
  try {
    const RepositoryAccess from = open_repository(settings.store, settings, cluster);
    const RepositoryAccess to = open_repository(settings.offsite_store, settings, cluster);
    const core::CallContext context{
        .stop = stop, .deadline = thread_clock().steady_now() + settings.upload_timeout * int(objects_in_a_step)};
    // One that is not mounted has nothing that could be lacking elsewhere.
    from.fence->require_repository(context);
    to.fence->require_repository(context);
    core::RepositoryCopier copier(*from.store, *to.store, cluster.system_identifier, from.keys.get());
    if (backlog.check && !find_beginning(result.backlog, copier, cluster, context)) return result;
    result.step = copier.copy(result.backlog.after.value(), objects_in_a_step, context);
  } catch (...) {
    result.failure = describe_thread_failure();
  }
  return result;
}

void CatchUp::drive(const Settings& settings, const ThreadEvent& event) {
  if (settings.offsite_store.empty() || task_.running() || thread_clock().steady_now() < not_before_) return;
  const auto backlog = file_.read(settings.offsite_store);
  if (!backlog) return;
  task_.start([settings, cluster = cluster_,
               backlog = *backlog](const std::stop_token& stop) { return run(settings, cluster, backlog, stop); },
              event);
}

void CatchUp::fail(const ThreadFailure& failure) {
  pause_ = std::clamp(pause_ * 2, first_pause, longest_pause);
  not_before_ = thread_clock().steady_now() + pause_;
  if (warnings_.pass(std::to_string(static_cast<int>(failure.kind))))
    log_line(true, "the offsite store cannot catch up yet: " + failure.message, failure.hint);
}

// False: a file that was let go meanwhile may lie behind the position. Then the next look begins where the file says.
bool CatchUp::keep(const Result& result) {
  if (result.backlog.check) return false; // it is not known yet where to begin
  return result.step.complete ? file_.clear(result.backlog) : file_.advance(result.backlog, result.step.position);
}

bool CatchUp::collect() {
  const auto result = task_.take();
  if (!result) return false;
  if (result->failure) {
    fail(*result->failure);
    return false;
  }
  try {
    if (!keep(*result)) return false;
  } catch (const core::Error&) { // of the data directory
    fail(describe_thread_failure());
    return false;
  }
  pause_ = milliseconds(0);
  warnings_.clear();
  publish(result->backlog.store, result->step.position, cluster_);
  if (result->step.complete) {
    log_line(false, "the offsite store has caught up");
    // The archiver has no file left to find that out with.
    with_archive_shared([](ArchiveShared& memory) { memory.repository[offsite].archiver_failing = false; });
  }
  return result->step.complete;
}

} // namespace dbops::server::archive
