#include "cli/commands/wal_prefetch.h"

#include "cli/exit_status.h"
#include "core/base/allocator.h"
#include "core/base/error.h"
#include "core/wal/page_header.h"
#include "core/wal/prefetcher.h"
#include "core/wal/wal_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

namespace dbops::cli {

using core::WalFileName;
using std::chrono::seconds;

namespace {

constexpr std::size_t fetches_at_once = 4; // each takes up to two reads of 8 MiB and a decompressor's window
constexpr std::size_t most_ahead = 64;     // segments
constexpr int look_every = 500;            // milliseconds
// Replay may take long over one segment, or pause; then what was fetched is fetched again when it goes on.
constexpr seconds idle_time_of_a_server(60), idle_time(15);

class Repositories {
 public:
  Repositories(const WalPrefetchCommand& command, const core::Spool& spool)
      : spool_(spool), identifier_(command.stores.system_identifier.value()),
        stores_(command.stores, {.max_attempts = 3, .max_delay = core::milliseconds(2000)}) {
    for (const auto& store : stores_.all())
      readers_.push_back(std::make_unique<core::WalReader>(*store, identifier_, stores_.keys()));
  }

  // False: no repository has it, or none that is known to answer.
  bool fetch(const WalFileName& segment, core::RestoreFile& out, const core::CallContext& context) {
    for (std::size_t i = 0; i < readers_.size(); ++i)
      if (!spool_.is_out(i) && fetch_from(i, segment, out, context)) return true;
    return false;
  }

 private:
  bool fetch_from(std::size_t i, const WalFileName& segment, core::RestoreFile& out, const core::CallContext& context) {
    try {
      out.restart();
      if (!readers_[i]->fetch_whole(
              segment, [&out](core::ByteView bytes) { out.write(bytes); }, context))
        return false;
      core::check_segment(out.start(512), out.written(), identifier_, segment.segment);
      return true;
    } catch (const core::RestoreFileError&) {
      throw;
    } catch (const core::Error& error) {
      if (readers_.size() > 1 && error.kind() != core::ErrorKind::cancelled && error.kind() != core::ErrorKind::corrupt)
        spool_.note_outage(i);
      return false;
    }
  }

  const core::Spool& spool_;
  std::uint64_t identifier_;
  Stores stores_;
  std::vector<std::unique_ptr<core::WalReader>> readers_;
};

// Until nobody needs it any more.
void serve(const core::SpoolOwner& owner, const RecoveryProcess& recovery, core::Prefetcher& prefetcher) {
  const auto patience = recovery.is_server() ? idle_time_of_a_server : idle_time;
  auto last = std::chrono::steady_clock::now();
  while (!recovery.has_ended()) {
    const std::string segment = owner.wait(look_every);
    const auto now = std::chrono::steady_clock::now();
    if (!segment.empty()) {
      prefetcher.advance(segment);
      last = now;
    } else if (now - last > patience && prefetcher.idle()) {
      return;
    }
  }
}

} // namespace

std::string SpoolSettings::base() const {
  if (!directory.empty()) return directory;
  const char* const temporary = std::getenv("TMPDIR");
  return temporary == nullptr || *temporary == '\0' ? "/tmp" : temporary;
}

int run(const WalPrefetchCommand& command) {
  ::umask(S_IRWXG | S_IRWXO);
  core::return_large_buffers();
  const core::Spool spool(command.spool.base(), command.key);
  const auto owner = core::SpoolOwner::own(spool);
  if (!owner) return exit_success;
  core::remove_abandoned_spools(spool);
  {
    Repositories repositories(command, spool);
    const std::uint64_t segments = command.spool.size / command.segment_size;
    const std::size_t ahead = std::min<std::uint64_t>(segments, most_ahead + 1) - 1;
    core::Prefetcher prefetcher(
        spool, core::SegmentSize(command.segment_size), ahead, std::min(ahead, fetches_at_once),
        [&](const WalFileName& segment, core::RestoreFile& out, const core::CallContext& context) {
          return repositories.fetch(segment, out, context);
        });
    prefetcher.advance(command.segment);
    serve(*owner, RecoveryProcess(command.recovery, command.recovery_started), prefetcher);
  }
  owner->remove(spool);
  return exit_success;
}

void start_prefetch(const WalPrefetchCommand& command) {
  if (command.spool.size / command.segment_size < 2) return;
  std::vector<std::string> arguments{"dbops",
                                     "wal-prefetch",
                                     "--system-identifier=" + std::to_string(command.stores.system_identifier.value()),
                                     "--spool-dir=" + command.spool.base(),
                                     "--spool-size=" + std::to_string(command.spool.size),
                                     "--recovery=" + std::to_string(command.recovery),
                                     command.key,
                                     command.segment,
                                     std::to_string(command.segment_size)};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) arguments.push_back(std::string(option) + "=" + value);
  };
  add("--recovery-started", command.recovery_started); // none: the session began outside of this container
  add("--store", command.stores.store);
  add("--offsite-store", command.stores.offsite_store);
  add("--key-file", command.stores.key_file);
  add("--credentials-file", command.stores.credentials_file);
  std::vector<char*> pointers;
  pointers.reserve(arguments.size() + 1);
  for (std::string& argument : arguments)
    pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  // Twice, so that it is nobody's child; in a session of its own, so that the server's signals to recovery do not reach
  // it; without the server's log and locks. Between fork and exec only what is async-signal-safe.
  const pid_t child = ::fork();
  if (child < 0) return;
  if (child > 0) {
    ::waitpid(child, nullptr, 0);
    return;
  }
  ::setsid();
  if (::fork() != 0) _exit(0);
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2; ++fd)
    ::dup2(null, fd);
  ::close_range(3, ~0U, 0);
  ::execv("/proc/self/exe", pointers.data());
  _exit(1);
}

} // namespace dbops::cli
