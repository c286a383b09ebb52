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

} // namespace

CatchUp::Result CatchUp::run(const Settings& settings, const Cluster& cluster, const core::OffsiteBacklog& backlog,
                             const std::stop_token& stop) {
  Result result{.step = {.position = backlog.position}, .failure = {}};
  try {
    const RepositoryAccess from = open_repository(settings.store, settings, cluster);
    const RepositoryAccess to = open_repository(settings.offsite_store, settings, cluster);
    const core::CallContext context{
        .stop = stop, .deadline = thread_clock().steady_now() + settings.upload_timeout * int(objects_in_a_step)};
    // One that is not mounted has nothing that could be lacking elsewhere.
    from.fence->require_repository(context);
    to.fence->require_repository(context);
    core::RepositoryCopier copier(*from.store, *to.store, cluster.system_identifier);
    const std::string position = backlog.position.empty() ? copier.beginning(context) : backlog.position;
    result.step = copier.copy(position, objects_in_a_step, context);
  } catch (...) {
    result.failure = describe_thread_failure();
  }
  return result;
}

void CatchUp::drive(const Settings& settings, const ThreadEvent& event) {
  if (settings.offsite_store.empty() || task_.running() || thread_clock().steady_now() < not_before_) return;
  const auto backlog = file_.read(settings.offsite_store);
  if (!backlog) return;
  seen_ = *backlog;
  task_.start([settings, cluster = cluster_,
               backlog = *backlog](const std::stop_token& stop) { return run(settings, cluster, backlog, stop); },
              event);
}

bool CatchUp::collect() {
  const auto result = task_.take();
  if (!result) return false;
  if (result->failure) {
    pause_ = std::clamp(pause_ * 2, first_pause, longest_pause);
    not_before_ = thread_clock().steady_now() + pause_;
    if (warnings_.pass(std::to_string(static_cast<int>(result->failure->kind))))
      log_line(true, "the offsite store cannot catch up yet: " + result->failure->message, result->failure->hint);
    return false;
  }
  pause_ = milliseconds(0);
  warnings_.clear();
  // A file that was let go meanwhile may lie behind the position: then the next look begins where the file says.
  const bool kept = result->step.complete ? file_.clear(seen_) : file_.advance(seen_, result->step.position);
  if (!kept) return false;
  publish(seen_.store, result->step.position, cluster_);
  if (result->step.complete) {
    log_line(false, "the offsite store has caught up");
    // The archiver has no file left to find that out with.
    with_archive_shared([](ArchiveShared& memory) { memory.repository[offsite].archiver_failing = false; });
  }
  return result->step.complete;
}

} // namespace dbops::server::archive
