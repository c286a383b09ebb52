#include "core/backup/catalogue.h"

#include "core/backup/store_clock.h"
#include "core/backup/summary.h"
#include "core/base/error.h"
#include "core/base/thread_pool.h"

#include <algorithm>

namespace dbops::core {

namespace {

// The value of a setting, quoted for a configuration file.
std::string setting_value(std::string_view value) {
  std::string text = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') text += c;
    text += c == '\n' ? ' ' : c;
  }
  return text + "'";
}

const char* setting_of(RecoveryTarget::Kind kind) {
  switch (kind) {
  case RecoveryTarget::Kind::time:
    return "recovery_target_time";
  case RecoveryTarget::Kind::lsn:
    return "recovery_target_lsn";
  case RecoveryTarget::Kind::xid:
    return "recovery_target_xid";
  case RecoveryTarget::Kind::name:
    return "recovery_target_name";
  case RecoveryTarget::Kind::immediate:
    return "recovery_target";
  case RecoveryTarget::Kind::latest:
    break;
  }
  return nullptr;
}

} // namespace

bool was_complete(const BackupHead& head, const RecoveryTarget& target) {
  if (target.time) return head.finished <= *target.time;
  if (target.lsn) return head.stop_lsn <= *target.lsn;
  return true;
}

CatalogueEntry read_catalogue_entry(const BackupRepository& repository, const std::string& label,
                                    const CallContext& context) {
  CatalogueEntry entry{.label = label};
  try {
    entry.head = read_head(repository, label, context);
    // Whoever removes a backup removes its summary first. The second look is for one that is finished in between.
    if (!entry.head && repository.store.head(repository.key(summary_key(label)), context)) {
      entry.head = read_head(repository, label, context);
      if (!entry.head) entry.problem = "\"" + backup_head_key(label) + "\" was there, and is missing";
    }
  } catch (const Error& error) {
    switch (error.kind()) {
    case ErrorKind::key_missing:
    case ErrorKind::key_wrong:
      entry.key_problem = error.kind();
      [[fallthrough]];
    case ErrorKind::corrupt:
    case ErrorKind::configuration:
      entry.problem = error.what();
      entry.hint = error.hint();
      break;
    default:
      throw;
    }
  }
  return entry;
}

void require_keys(const std::vector<CatalogueEntry>& entries) {
  const auto locked = [](const CatalogueEntry& entry) { return entry.key_problem.has_value(); };
  const auto newest = std::ranges::find_if(entries.rbegin(), entries.rend(), locked);
  if (newest == entries.rend()) return;
  throw Error(*newest->key_problem,
              std::to_string(std::ranges::count_if(entries, locked)) + " of " + std::to_string(entries.size()) +
                  " backups cannot be read with the keys that are given: " + newest->problem,
              newest->hint);
}

std::vector<std::string> list_summaries(const BackupRepository& repository, const CallContext& context) {
  return names_below(repository, summary_key(""), context);
}

std::vector<CatalogueEntry> read_lost_backups(const BackupRepository& repository,
                                              const std::vector<std::string>& labels,
                                              const std::vector<std::string>& summaries, unsigned threads,
                                              const CallContext& context) {
  std::vector<std::string> lost;
  for (const std::string& name : summaries) {
    std::string label = name.substr(summary_key("").size());
    if (is_backup_label(label) && !std::ranges::binary_search(labels, label)) lost.push_back(std::move(label));
  }
  auto entries = in_threads(lost, threads,
                            [&](const std::string& label) { return read_catalogue_entry(repository, label, context); });
  // Removed by an expiry since the list.
  std::erase_if(entries, [](const CatalogueEntry& entry) { return !entry.head && entry.problem.empty(); });
  return entries;
}

std::vector<CatalogueEntry> read_catalogue(const BackupRepository& repository, unsigned threads,
                                           const CallContext& context) {
  const std::vector<std::string> summaries = list_summaries(repository, context),
                                 labels = list_backup_labels(repository, context);
  auto entries = in_threads(labels, threads,
                            [&](const std::string& label) { return read_catalogue_entry(repository, label, context); });
  for (CatalogueEntry& entry : read_lost_backups(repository, labels, summaries, threads, context))
    entries.push_back(std::move(entry));
  std::ranges::sort(entries, {}, &CatalogueEntry::label);
  return entries;
}

void mend_times(const BackupRepository& repository, std::vector<CatalogueEntry>& entries, const CallContext& context) {
  std::vector<BackupHead*> heads;
  for (CatalogueEntry& entry : entries)
    if (entry.head) heads.push_back(&*entry.head);
  if (std::ranges::is_sorted(heads, {}, &BackupHead::finished)) return;
  const std::vector<WallTime> stored = in_threads(heads, 32, [&](const BackupHead* head) {
    return stored_until(repository, backup_head_key(head->label), context);
  });
  WallTime before = WallTime::min();
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const WallTime own = heads[i]->finished;
    heads[i]->finished = std::max(own, before);
    before = std::max(before, std::min(own, stored[i]));
  }
}

const BackupHead& choose_backup(const std::vector<CatalogueEntry>& catalogue, const RecoveryTarget& target,
                                const std::function<bool(const BackupHead&)>& fits) {
  const BackupHead* oldest = nullptr;
  for (const CatalogueEntry& entry : catalogue)
    if (entry.head && oldest == nullptr) oldest = &*entry.head;
  if (oldest == nullptr) require_keys(catalogue);
  if (oldest == nullptr)
    throw Error(ErrorKind::configuration, "the store has no backup of this cluster",
                "\"dbops list\" shows what is there.");
  const BackupHead* elsewhere = nullptr;
  for (auto entry = catalogue.rbegin(); entry != catalogue.rend(); ++entry) {
    if (!entry->head || !was_complete(*entry->head, target)) continue;
    if (!fits || fits(*entry->head)) return *entry->head;
    elsewhere = &*entry->head;
  }
  if (elsewhere != nullptr)
    throw Error(ErrorKind::configuration,
                "no backup lies on the history of the timeline that is to be recovered: that of " + elsewhere->label +
                    " was left before it was complete",
                "Give --timeline current, or the number of another one: \"dbops list\" shows those of the backups.");
  throw Error(ErrorKind::configuration, "no backup was complete at the recovery target \"" + target.value + "\"",
              "The first one reaches from " + iso8601_basic(oldest->finished) + ", LSN " + to_string(oldest->stop_lsn) +
                  ", on.");
}

std::string recovery_settings(const RecoveryTarget& target, const std::string& restore_command,
                              const std::string& comment, bool keep_archiving) {
  std::string text = "# " + comment + "\n";
  const auto set = [&text](const std::string& name, const std::string& value) {
    text.append(name).append(" = ").append(setting_value(value)).append("\n");
  };
  set("restore_command", restore_command);
  // The source's would act on what is the source's: its archive, its address.
  if (!target.standby)
    for (const char* const command : {"archive_cleanup_command", "recovery_end_command"})
      set(command, "");
  // Those that are not given override what the source had. The one that is comes last: PostgreSQL refuses a second one
  // behind it, even an empty one (assign_recovery_target_time and its kin).
  for (const auto kind : {RecoveryTarget::Kind::time, RecoveryTarget::Kind::lsn, RecoveryTarget::Kind::xid,
                          RecoveryTarget::Kind::name, RecoveryTarget::Kind::immediate})
    if (kind != target.kind) set(setting_of(kind), "");
  if (const char* const name = setting_of(target.kind)) set(name, target.value);
  // "latest" would look for the end of a history that is not to be followed.
  const bool immediate = target.kind == RecoveryTarget::Kind::immediate;
  set("recovery_target_timeline", !target.timeline.empty() ? target.timeline : immediate ? "current" : "latest");
  set("recovery_target_action", target.action);
  if (!keep_archiving && !target.standby) set("archive_mode", "off");
  return text;
}

} // namespace dbops::core
