#include "core/backup/catalogue_cache.h"

#include "core/base/error.h"
#include "core/base/thread_pool.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::uint64_t largest_record = 4 << 20; // bytes of a drill's or verification's record

// Runs read(name) for each name in some threads; results in the order of the names.
template <class Result, class Read>
std::vector<Result> read_all(const std::vector<std::string>& names, unsigned threads, const Read& read) {
  std::vector<Result> results;
  if (names.empty()) return results;
  ThreadPool pool(std::min<std::size_t>(threads, names.size()));
  std::vector<std::future<Result>> reading;
  reading.reserve(names.size());
  for (const std::string& name : names)
    reading.push_back(pool.submit([&read, name](const std::stop_token&) { return read(name); }));
  for (auto& result : reading)
    result.wait();
  for (auto& result : reading)
    results.push_back(result.get());
  return results;
}

std::vector<std::string> names_below(const BackupRepository& repository, const std::string& directory,
                                     const CallContext& context) {
  std::vector<std::string> names;
  const std::size_t root = repository.key("").size();
  ListRequest request;
  request.prefix = repository.key(directory);
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      names.push_back(object.key.substr(root));
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return names;
}

} // namespace

std::vector<CatalogueEntry> CatalogueCache::backups(const BackupRepository& repository, unsigned threads,
                                                    const CallContext& context) {
  const std::vector<std::string> labels = list_backup_labels(repository, context);
  std::vector<std::string> unknown;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(heads_, [&](const auto& head) { return !std::ranges::binary_search(labels, head.first); });
    std::ranges::copy_if(labels, std::back_inserter(unknown),
                         [&](const auto& label) { return !heads_.contains(label); });
  }
  auto fresh = read_all<CatalogueEntry>(
      unknown, threads, [&](const std::string& label) { return read_catalogue_entry(repository, label, context); });
  std::vector<CatalogueEntry> entries;
  entries.reserve(labels.size());
  const std::lock_guard lock(mutex_);
  auto next = fresh.begin();
  for (const std::string& label : labels) {
    if (next == fresh.end() || next->label != label) {
      const auto head = heads_.find(label);
      entries.push_back({label, head == heads_.end() ? std::nullopt : std::optional(head->second), {}});
      continue;
    }
    if (next->head) {
      next->head->control_file.clear();
      heads_.insert_or_assign(label, *next->head);
    }
    entries.push_back(std::move(*next++));
  }
  return entries;
}

template <class Record, class Decode>
std::vector<Record> CatalogueCache::records(Records<Record>& known, const std::string& directory, const Decode& decode,
                                            const BackupRepository& repository, unsigned threads,
                                            const CallContext& context) {
  const std::vector<std::string> names = names_below(repository, directory, context);
  std::vector<std::string> unknown;
  {
    const std::lock_guard lock(mutex_);
    std::ranges::copy_if(names, std::back_inserter(unknown), [&](const auto& name) { return !known.contains(name); });
  }
  const auto fresh =
      read_all<std::optional<Record>>(unknown, threads, [&](const std::string& name) -> std::optional<Record> {
        try {
          const auto content = repository.get(name, ObjectKind::backup_event, largest_record, context);
          return content ? std::optional(decode(as_text(*content))) : std::nullopt;
        } catch (const Error& error) {
          if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::key_missing &&
              error.kind() != ErrorKind::key_wrong && error.kind() != ErrorKind::configuration)
            throw;
          return {};
        }
      });
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < unknown.size(); ++i)
    known.insert_or_assign(unknown[i], fresh[i]);
  std::vector<Record> found;
  for (const std::string& name : names)
    if (const auto& record = known.at(name)) found.push_back(*record);
  return found;
}

std::vector<DrillRecord> CatalogueCache::drills(const BackupRepository& repository, unsigned threads,
                                                const CallContext& context) {
  return records(drills_, "drill/", decode_drill, repository, threads, context);
}

std::vector<VerifyRecord> CatalogueCache::verifications(const BackupRepository& repository, unsigned threads,
                                                        const CallContext& context) {
  return records(verifications_, "verify/", decode_verification, repository, threads, context);
}

} // namespace dbops::core
