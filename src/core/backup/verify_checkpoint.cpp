#include "core/backup/verify_checkpoint.h"

#include "core/backup/pins.h"
#include "core/base/error.h"

#include <algorithm>
#include <map>

namespace dbops::core {

namespace {

constexpr std::string_view end_name = "done";
constexpr std::uint64_t largest_checkpoint = 1 << 30; // bytes; 64 million objects
constexpr auto save_interval = std::chrono::minutes(1);

struct Run {
  std::vector<std::string> names; // below the run's prefix
  WallTime saved{};
  bool ended = false;
};

// By prefix, "verifying/<scope>/<run>/", in the order of time within a scope.
std::map<std::string, Run> runs_below(const BackupRepository& repository, const std::string& prefix,
                                      const CallContext& context) {
  std::map<std::string, Run> runs;
  const std::size_t root = repository.key("").size();
  ListRequest request;
  request.prefix = repository.key(prefix);
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const std::string name = object.key.substr(root);
      const std::size_t slash = name.rfind('/');
      Run& run = runs[name.substr(0, slash + 1)];
      run.names.push_back(name.substr(slash + 1));
      run.saved = std::max(run.saved, object.modified);
      run.ended = run.ended || run.names.back() == end_name;
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return runs;
}

bool is_over(const Run& run, WallTime now) {
  return run.ended || run.saved + VerifyCheckpoint::longest_pause < now;
}

} // namespace

VerifyCheckpoint::VerifyCheckpoint(const BackupRepository& repository, const std::string& scope, bool restart,
                                   LogSink log, const CallContext& context)
    : repository_(repository), log_(std::move(log)), saved_(repository.clock.steady_now()) {
  const std::string prefix = "verifying/" + scope + "/";
  const WallTime now = repository.clock.wall_now();
  const auto runs = restart ? std::map<std::string, Run>() : runs_below(repository, prefix, context);
  if (runs.empty() || is_over(runs.rbegin()->second, now)) {
    run_ = prefix + unique_name(repository) + "/";
    return;
  }
  run_ = runs.rbegin()->first;
  for (const std::string& name : runs.rbegin()->second.names) {
    std::optional<Bytes> content;
    try {
      content = repository.get(run_ + name, ObjectKind::backup_event, largest_checkpoint, context);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::key_missing &&
          error.kind() != ErrorKind::key_wrong && error.kind() != ErrorKind::configuration)
        throw; // what cannot be read was not read
    }
    for (std::size_t at = 0; content && at + Mark().size() <= content->size(); at += Mark().size())
      std::ranges::copy(ByteView(*content).subspan(at, Mark().size()), known_.emplace_back().begin());
  }
  std::ranges::sort(known_);
}

VerifyCheckpoint::Mark VerifyCheckpoint::mark_of(const std::string& name) {
  const Digest digest = sha256(as_bytes(name));
  Mark mark{};
  std::ranges::copy(ByteView(digest).first(mark.size()), mark.begin());
  return mark;
}

bool VerifyCheckpoint::has(const std::string& name) const {
  return !known_.empty() && std::ranges::binary_search(known_, mark_of(name));
}

void VerifyCheckpoint::add(const std::string& name) {
  const Mark mark = mark_of(name);
  const std::lock_guard lock(mutex_);
  append(added_, mark);
}

void VerifyCheckpoint::save(const CallContext& context, bool once_a_minute) {
  Bytes content;
  {
    const std::lock_guard lock(mutex_);
    const SteadyTime now = repository_.clock.steady_now();
    if (added_.empty() || (once_a_minute && now < saved_ + save_interval)) return;
    content.swap(added_);
    saved_ = now;
  }
  put(unique_name(repository_), content, context);
}

void VerifyCheckpoint::finish(const CallContext& context) {
  put(std::string(end_name), as_bytes("read all"), context);
}

void VerifyCheckpoint::put(const std::string& name, ByteView content, const CallContext& context) {
  if (refused_) return;
  try {
    repository_.put(run_ + name, ObjectKind::backup_event, content, context);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::conflict) return; // another process goes on with the same run, and has ended it
    if (error.kind() != ErrorKind::access_denied) throw;
    refused_ = true;
    if (log_) log_({LogLevel::warning, std::string("how far it was is not kept: ") + error.what()});
  }
}

void forget_verify_checkpoints(const BackupRepository& repository, const CallContext& context) {
  const WallTime now = repository.clock.wall_now();
  for (auto& [prefix, run] : runs_below(repository, "verifying/", context)) {
    if (!is_over(run, now)) continue;
    // Its end is the last to go: a run without it would be gone on with.
    std::erase(run.names, end_name);
    for (const std::string& name : run.names)
      repository.store.remove(repository.key(prefix + name), context);
    repository.store.remove(repository.key(prefix + std::string(end_name)), context);
  }
}

} // namespace dbops::core
