#include "core/backup/catalogue_cache.h"

#include "core/base/error.h"
#include "core/base/thread_pool.h"

#include <algorithm>
#include <iterator>

namespace dbops::core {

namespace {

constexpr std::uint64_t largest_record = 4 << 20; // bytes of a drill's or verification's record
constexpr std::size_t few = 8;                    // objects that are as quick to read as a summary
constexpr std::size_t summaries_tried = 3;        // before each object is read by itself
constexpr std::string_view drill_directory = "drill/", verify_directory = "verify/", backup_directory = "backup/",
                           manifest_name = "/manifest";

// What cannot be read by this program or with these keys, as against a store that does not answer.
bool is_unreadable(ErrorKind kind) {
  return kind == ErrorKind::corrupt || kind == ErrorKind::key_missing || kind == ErrorKind::key_wrong ||
         kind == ErrorKind::configuration;
}

template <class Decode>
auto decoded(std::string_view content, const Decode& decode) -> std::optional<decltype(decode(content))> {
  try {
    return decode(content);
  } catch (const Error& error) {
    if (!is_unreadable(error.kind())) throw;
    return {};
  }
}

// "backup/<label>/manifest"; absent: it is the name of something else.
std::optional<std::string> label_of_manifest(std::string_view name) {
  if (!name.starts_with(backup_directory) || !name.ends_with(manifest_name)) return {};
  name.remove_prefix(backup_directory.size());
  name.remove_suffix(std::min(manifest_name.size(), name.size()));
  return is_backup_label(name) ? std::optional<std::string>(name) : std::nullopt;
}

// What a list does not need, and takes most of the place.
BackupHead slim(BackupHead head) {
  head.control_file.clear();
  head.backup_label.clear();
  head.tablespace_map.clear();
  return head;
}

} // namespace

std::vector<std::string> CatalogueCache::unknown_backups(const Names& labels, const Names& summaries) {
  const auto summarised = [&](const std::string& label) {
    return std::ranges::binary_search(summaries, summary_key(label));
  };
  const std::lock_guard lock(mutex_);
  // An expiry that was killed may have left the rest of a backup: then its summary has gone, and its manifest may have.
  std::erase_if(heads_, [&](const auto& known) {
    return !std::ranges::binary_search(labels, known.first) || (known.second.summarised && !summarised(known.first));
  });
  Names unknown;
  std::ranges::copy_if(labels, std::back_inserter(unknown), [&](const auto& label) { return !heads_.contains(label); });
  return unknown;
}

template <class Record>
std::vector<std::string> CatalogueCache::unknown_of(Records<Record>& known, const Names& names) {
  const std::lock_guard lock(mutex_);
  Names unknown;
  std::ranges::copy_if(names, std::back_inserter(unknown), [&](const auto& name) { return !known.contains(name); });
  return unknown;
}

void CatalogueCache::take(const std::vector<SummaryEntry>& entries, const Names& summaries) {
  const std::lock_guard lock(mutex_);
  for (const SummaryEntry& entry : entries) {
    if (entry.name.starts_with(drill_directory)) {
      if (auto record = decoded(entry.content, decode_drill)) drills_.try_emplace(entry.name, std::move(*record));
    } else if (entry.name.starts_with(verify_directory)) {
      if (auto record = decoded(entry.content, decode_verification))
        verifications_.try_emplace(entry.name, std::move(*record));
    } else if (const auto label = label_of_manifest(entry.name);
               label && std::ranges::binary_search(summaries, summary_key(*label))) {
      auto head = decoded(entry.content, decode_head);
      if (head && head->label == *label) heads_.try_emplace(*label, Known{std::move(*head), true});
    }
  }
}

void CatalogueCache::learn(const BackupRepository& repository, const Names& summaries, const CallContext& context) {
  const std::size_t tried = std::min(summaries_tried, summaries.size());
  for (std::size_t i = 1; i <= tried; ++i) {
    try {
      const auto content =
          repository.get(summaries[summaries.size() - i], ObjectKind::backup_summary, max_summary_size, context);
      if (!content) continue; // expired meanwhile
      take(decode_summary(*content), summaries);
      return;
    } catch (const Error& error) {
      if (!is_unreadable(error.kind())) throw;
    }
  }
}

std::vector<CatalogueEntry> CatalogueCache::read_backups(const Names& labels, const Names& summaries,
                                                         const BackupRepository& repository, unsigned threads,
                                                         const CallContext& context) {
  const Names unknown = unknown_backups(labels, summaries);
  auto fresh = in_threads(unknown, threads,
                          [&](const std::string& label) { return read_catalogue_entry(repository, label, context); });
  std::vector<CatalogueEntry> entries = read_lost_backups(repository, labels, summaries, threads, context);
  const auto lost = std::ptrdiff_t(entries.size());
  entries.reserve(entries.size() + labels.size());
  const std::lock_guard lock(mutex_);
  auto next = fresh.begin();
  for (const std::string& label : labels) {
    if (next == fresh.end() || next->label != label) {
      const auto known = heads_.find(label);
      entries.push_back({label, known == heads_.end() ? std::nullopt : std::optional(known->second.head)});
      continue;
    }
    if (next->head) {
      next->head = slim(std::move(*next->head));
      heads_.insert_or_assign(label, Known{*next->head, std::ranges::binary_search(summaries, summary_key(label))});
    }
    entries.push_back(std::move(*next++));
  }
  std::ranges::inplace_merge(entries, entries.begin() + lost, {}, &CatalogueEntry::label);
  return entries;
}

template <class Record, class Decode>
std::vector<Record> CatalogueCache::read_records(Records<Record>& known, const Names& names, const Decode& decode,
                                                 const BackupRepository& repository, unsigned threads,
                                                 const CallContext& context) {
  const Names unknown = unknown_of(known, names);
  const auto fresh = in_threads(unknown, threads, [&](const std::string& name) -> std::optional<Record> {
    try {
      const auto content = repository.get(name, ObjectKind::backup_event, largest_record, context);
      return content ? std::optional(decode(as_text(*content))) : std::nullopt;
    } catch (const Error& error) {
      if (!is_unreadable(error.kind())) throw;
      return {};
    }
  });
  const std::lock_guard lock(mutex_);
  std::erase_if(known, [&](const auto& record) { return !std::ranges::binary_search(names, record.first); });
  for (std::size_t i = 0; i < unknown.size(); ++i)
    known.insert_or_assign(unknown[i], fresh[i]);
  std::vector<Record> found;
  for (const std::string& name : names)
    if (const auto record = known.find(name); record != known.end() && record->second) found.push_back(*record->second);
  return found;
}

BackupCatalogue CatalogueCache::all(const BackupRepository& repository, unsigned threads, const CallContext& context) {
  constexpr std::size_t lists = 5;
  ThreadPool pool(lists);
  const auto names = [&](std::string_view directory) {
    return pool.submit(
        [&, directory](const std::stop_token&) { return names_below(repository, std::string(directory), context); });
  };
  auto listed_labels = pool.submit([&](const std::stop_token&) { return list_backup_labels(repository, context); });
  auto listed_summaries = pool.submit([&](const std::stop_token&) { return list_summaries(repository, context); });
  auto listed_drills = names(drill_directory), listed_verifications = names(verify_directory);
  auto pins = pool.submit([&](const std::stop_token&) { return read_pins(repository, Pinnable::backup, context); });
  const Names labels = listed_labels.get(), summaries = listed_summaries.get(), drills = listed_drills.get(),
              verifications = listed_verifications.get();
  if (unknown_backups(labels, summaries).size() + unknown_of(drills_, drills).size() +
          unknown_of(verifications_, verifications).size() >
      few)
    learn(repository, summaries, context);
  return {.backups = read_backups(labels, summaries, repository, threads, context),
          .drills = read_records(drills_, drills, decode_drill, repository, threads, context),
          .verifications =
              read_records(verifications_, verifications, decode_verification, repository, threads, context),
          .pins = pins.get()};
}

std::vector<CatalogueEntry> CatalogueCache::backups(const BackupRepository& repository, unsigned threads,
                                                    const CallContext& context) {
  const Names summaries = list_summaries(repository, context), labels = list_backup_labels(repository, context);
  if (unknown_backups(labels, summaries).size() > few) learn(repository, summaries, context);
  return read_backups(labels, summaries, repository, threads, context);
}

template <class Record, class Decode>
std::vector<Record> CatalogueCache::records(Records<Record>& known, const std::string& directory, const Decode& decode,
                                            const BackupRepository& repository, unsigned threads,
                                            const CallContext& context) {
  const Names names = names_below(repository, directory, context);
  if (unknown_of(known, names).size() > few) learn(repository, list_summaries(repository, context), context);
  return read_records(known, names, decode, repository, threads, context);
}

std::vector<DrillRecord> CatalogueCache::drills(const BackupRepository& repository, unsigned threads,
                                                const CallContext& context) {
  return records(drills_, std::string(drill_directory), decode_drill, repository, threads, context);
}

std::vector<VerifyRecord> CatalogueCache::verifications(const BackupRepository& repository, unsigned threads,
                                                        const CallContext& context) {
  return records(verifications_, std::string(verify_directory), decode_verification, repository, threads, context);
}

std::vector<SummaryEntry> CatalogueCache::entries() const {
  std::vector<SummaryEntry> entries;
  const std::lock_guard lock(mutex_);
  for (auto known = heads_.rbegin(); known != heads_.rend(); ++known)
    entries.push_back({backup_head_key(known->first), encode_head(known->second.head)});
  for (auto drill = drills_.rbegin(); drill != drills_.rend(); ++drill)
    if (drill->second) entries.push_back({drill->first, encode_drill(*drill->second)});
  for (auto record = verifications_.rbegin(); record != verifications_.rend(); ++record)
    if (record->second) entries.push_back({record->first, encode_verification(*record->second)});
  return entries;
}

void put_summary(const BackupRepository& repository, const std::string& label, unsigned threads,
                 const CallContext& context) {
  CatalogueCache cache;
  cache.backups(repository, threads, context);
  cache.drills(repository, threads, context);
  cache.verifications(repository, threads, context);
  repository.put(summary_key(label), ObjectKind::backup_summary, encode_summary(cache.entries()), context);
}

} // namespace dbops::core
