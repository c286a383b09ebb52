#include "core/backup/base_files.h"

#include "core/backup/catalogue.h"
#include "core/base/error.h"

namespace dbops::core {

namespace {

constexpr std::size_t most_aborted = 3; // of backups that were aborted one after another

// One that the keys do not open, as verify, restore and expire refuse it: a backup that stores all again without a word
// would hide that those before it cannot be restored, and what is stored now may have another key than the WAL.
Error do_not_fit(const Error& error, const std::string& label) {
  return {error.kind(), "the keys that are given do not open the last backup, " + label + ": " + error.what(),
          error.hint() + " If its key was given up on purpose, take a full backup, which refers to no other (--full)."};
}

} // namespace

BaseFiles::BaseFiles(const BackupRepository& repository, bool none, const CallContext& context) {
  if (none) return;
  const std::vector<std::string> labels = list_backup_labels(repository, context);
  for (auto label = labels.rbegin(); label != labels.rend() && !head_; ++label) {
    try {
      head_ = read_head(repository, *label, context);
    } catch (const Error& error) {
      if (is_key_problem(error.kind())) throw do_not_fit(error, *label);
      // Damage: not to be compared with, and no reason not to make a new backup.
      if (error.kind() != ErrorKind::corrupt) throw;
      continue;
    }
    if (head_)
      lists_.push_back({FileListReader(repository, *label, head_->file_parts), {}});
    else if (lists_.size() < most_aborted)
      lists_.push_back({FileListReader(repository, *label, {}), {}});
  }
  for (List& list : lists_)
    advance(list, context);
}

void BaseFiles::advance(List& list, const CallContext& context) {
  list.next.reset();
  if (!list.whole) return;
  try {
    list.next = list.reader.next(context);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found && !is_key_problem(error.kind()))
      throw;
    list.whole = false; // the rest is stored again
  }
}

std::optional<FileEntry> BaseFiles::find(const std::string& path, const CallContext& context) {
  std::optional<FileEntry> found;
  for (List& list : lists_) {
    while (list.next && path_less(list.next->path, path))
      advance(list, context);
    if (!found && list.next && list.next->path == path) found = list.next;
  }
  return found;
}

} // namespace dbops::core
