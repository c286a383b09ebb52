#include "server/archive/threads.h"

#include <cstdlib>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

#include "core/crypto/random.h"
#include "core/store/open_store.h"
#include "core/wal/ancestor_wal.h"
#include "core/wal/archive_marks.h"
#include "core/wal/instance.h"
#include "core/wal/offsite_backlog.h"
#include "core/wal/ready_files.h"
#include "core/wal/wal_file.h"
#include "server/archive/wake_up.h"
#include "server/compat.h"

extern "C" {
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "pgstat.h"
#include "postmaster/pgarch.h"
#include "postmaster/postmaster.h"
#include "utils/wait_event.h"
}

namespace dbops::server::archive {

namespace {

constexpr std::size_t names_in_memory = 4096; // of files that are ready

constexpr std::chrono::seconds same_message_interval{60};

bool wake_up_taken = false; // by the main thread

std::optional<std::string> environment(const std::string& name) {
  // The main thread of a PostgreSQL process changes no variable once it runs.
  const char* const value = std::getenv(name.c_str()); // NOLINT(concurrency-mt-unsafe)
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

std::string describe_server(const std::string& data_directory) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return std::string("host=") + host.data() + " port=" + std::to_string(PostPortNumber) + " data=" + data_directory;
}

} // namespace

ThreadEvent::ThreadEvent() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw SqlError(ERRCODE_INSUFFICIENT_RESOURCES, "dbops: could not create an eventfd");
}

void ThreadEvent::signal() const noexcept {
  const std::uint64_t one = 1;
  (void)!::write(fd_, &one, sizeof one);
}

bool ThreadEvent::wait(core::milliseconds timeout) const {
  const int events = call_pg([this, timeout] {
    const int happened =
        WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_POSTMASTER_DEATH, fd_,
                          static_cast<long>(timeout.count()), PG_WAIT_EXTENSION);
    if ((happened & WL_LATCH_SET) != 0) {
      ResetLatch(MyLatch);
      wake_up_taken = true;
    }
    CHECK_FOR_INTERRUPTS();
    return happened;
  });
  std::uint64_t count = 0;
  (void)!::read(fd_, &count, sizeof count);
  return (events & WL_POSTMASTER_DEATH) == 0;
}

bool take_wake_up() noexcept {
  return std::exchange(wake_up_taken, false);
}

core::Clock& thread_clock() {
  static auto& clock = *new core::SystemClock();
  return clock;
}

core::Random& thread_random() {
  static auto& random = *new core::SystemRandom();
  return random;
}

Cluster this_cluster() {
  Cluster cluster;
  cluster.system_identifier = GetSystemIdentifier();
  cluster.segment_size = static_cast<std::uint64_t>(wal_segment_size);
  cluster.data_directory = DataDir;
  cluster.owner = {.instance = core::instance_identity(DataDir, thread_random()),
                   .description = describe_server(cluster.data_directory)};
  return cluster;
}

bool offer_ancestors(const Cluster& cluster, core::TimelineId timeline) noexcept {
  try {
    const std::size_t offered = core::offer_ancestor_segments(std::filesystem::path(cluster.data_directory) / "pg_wal",
                                                              timeline, core::SegmentSize(cluster.segment_size));
    if (offered > 0)
      log_line(false, std::to_string(offered) + " segments from before timeline " + std::to_string(timeline) +
                          " are archived unless the old primary has done so");
    return true;
  } catch (const std::exception& error) {
    log_line(true, std::string("cannot offer the segments from before this timeline: ") + error.what());
    return false;
  }
}

std::size_t offer_forgotten(const Cluster& cluster, core::TimelineId timeline, core::Lsn flushed,
                            std::optional<core::SegmentNumber> from) {
  const std::filesystem::path wal = std::filesystem::path(cluster.data_directory) / "pg_wal";
  const auto files = core::unmarked_files(wal, timeline, flushed, core::SegmentSize(cluster.segment_size), from);
  if (files.empty()) return 0;
  core::make_ready(wal, files);
  // What is behind them may have been read already (XLogArchiveNotify does so for a history).
  call_pg([] {
    PgArchForceDirScan();
    PgArchWakeup();
  });
  log_line(false, std::to_string(files.size()) +
                      " WAL files were neither archived nor waiting to be, as after a crash that " +
                      "lost their .ready, and are archived now, among them " + files.front().name);
  return files.size();
}

core::Lsn archived_by_status(const Cluster& cluster, core::TimelineId timeline, core::Lsn flushed) {
  const core::SegmentSize size(cluster.segment_size);
  core::Lsn oldest = size.start_of(size.segment_of(flushed));
  const core::ReadyFiles ready =
      core::list_ready_files(std::filesystem::path(cluster.data_directory) / "pg_wal/archive_status", names_in_memory);
  // What is of an older timeline is an ancestor's, which a promoted server sees to.
  for (const core::WalFileName& file : ready.first)
    if (const auto id = core::parse_segment_name(file.name, size); id && id->timeline <= timeline)
      oldest = std::min(oldest, size.start_of(id->number));
  return oldest;
}

void check_offsite(const Cluster& cluster, const std::string& store, core::TimelineId timeline,
                   core::OffsiteBacklogFile::Asker asker) {
  const std::string server = cluster.owner.instance + " " + std::to_string(timeline);
  const auto own_from = [&] {
    const core::SegmentSize size(cluster.segment_size);
    return core::first_own_position(std::filesystem::path(cluster.data_directory) / "pg_wal/archive_status",
                                    {timeline, size.segment_of(GetFlushRecPtr(nullptr))}, size);
  };
  if (core::OffsiteBacklogFile(cluster.data_directory).require_check(store, server, asker, own_from))
    log_line(false, "the offsite store is compared with the first one, from its oldest segment on");
}

RepositoryAccess open_repository(const std::string& url, const Settings& settings, const Cluster& cluster) {
  RepositoryAccess access;
  access.retries = std::make_shared<std::atomic<std::uint64_t>>(0);
  core::StoreSetup setup{.clock = thread_clock(),
                         .random = thread_random(),
                         .environment = environment,
                         .credentials_file = settings.credentials_file,
                         .retry = {},
                         .log = [retries = access.retries](const core::LogMessage&) { ++*retries; }};
  access.store = core::open_store(core::parse_store_url(url), setup);
  if (!settings.key_file.empty())
    access.keys = std::make_shared<const core::KeyRing>(core::KeyRing::read(settings.key_file));
  access.fence =
      std::make_shared<core::TimelineFence>(*access.store, cluster.system_identifier, cluster.owner, thread_clock());
  access.fence->remember_in(cluster.data_directory);
  return access;
}

void leave_thread_behind() {
  // Registered last, it runs first.
  (void)::on_exit([](int status, void*) { ::_exit(status); }, nullptr);
}

ThreadFailure describe_thread_failure() {
  try {
    throw;
  } catch (const core::WalFileGone& error) {
    return {.kind = error.kind(), .message = error.what(), .hint = {}, .gone = true};
  } catch (const core::Error& error) {
    return {.kind = error.kind(), .message = error.what(), .hint = error.hint()};
  } catch (const std::exception& error) {
    return {.kind = core::ErrorKind::io, .message = error.what(), .hint = {}};
  } catch (...) {
    return {.kind = core::ErrorKind::io, .message = "unknown error", .hint = {}};
  }
}

void log_line(bool warning, const std::string& message, const std::string& hint) noexcept {
  try {
    call_pg([&] {
      ereport(warning ? WARNING : LOG,
              (errmsg_internal("dbops: %s", message.c_str()), hint.empty() ? 0 : errhint("%s", hint.c_str())));
    });
  } catch (...) {
    return; // the log itself does not work
  }
}

bool RateLimit::pass(const std::string& message) {
  const core::SteadyTime now = thread_clock().steady_now();
  std::erase_if(passed_, [now](const auto& entry) { return now - entry.second >= same_message_interval; });
  return passed_.emplace(message, now).second;
}

} // namespace dbops::server::archive
