#include "server/archive/backlog.h"

#include <algorithm>

#include "core/wal/layout.h"
#include "core/wal/offsite_backlog.h"
#include "core/wal/ready_files.h"
#include "server/compat.h"

extern "C" {
#include "access/xlog.h"
}

namespace dbops::server::archive {

namespace {

bool has(const StoredAhead& ahead, const core::WalFileName& file, core::SegmentSize size) {
  if (const auto id = core::parse_segment_name(file.name, size))
    for (int i = 0; i < ahead.segment_ranges; ++i) {
      const StoredAhead::Segments& range = ahead.segments[i];
      if (range.timeline == id->timeline && range.first <= id->number && id->number < range.end) return true;
    }
  for (int i = 0; i < ahead.other_files; ++i)
    if (file.name == ahead.others[i]) return true;
  return false;
}

// What comes first, by the order in which it was written.
void take_older(Backlog& backlog, const std::string& name) {
  if (backlog.oldest.empty() || name < backlog.oldest) backlog.oldest = name;
}

// Segments that were acknowledged without it: from where it has everything up to the first one that still waits.
void add_let_go(Backlog& backlog, const core::OffsiteBacklog& note, core::SegmentNumber waiting,
                core::SegmentSize size) {
  backlog.catching_up = true;
  const auto first = note.after ? core::first_lacking_segment(*note.after, size) : std::nullopt;
  if (!first || first->number >= waiting) return;
  backlog.files += static_cast<std::int64_t>(waiting - first->number);
  take_older(backlog, core::segment_name(*first, size));
}

// The name that the file had in pg_wal.
std::string file_name(const std::string& object) {
  const auto key = core::parse_wal_key(object);
  return key ? key->file.name : object.substr(object.rfind('/') + 1);
}

void add_damaged(Backlog& backlog, std::vector<std::string> damaged) {
  backlog.damaged = std::move(damaged);
  backlog.files += std::ssize(backlog.damaged);
  for (const std::string& object : backlog.damaged)
    take_older(backlog, file_name(object));
}

} // namespace

std::array<Backlog, repositories> read_backlogs(const ArchiveShared& memory, const char* offsite_store) {
  const core::SegmentSize size(static_cast<std::uint64_t>(wal_segment_size));
  std::array<Backlog, repositories> backlogs;
  std::vector<core::FirstFiles> first(repositories, core::FirstFiles(1));
  core::SegmentNumber waiting = size.segment_of(RecoveryInProgress() ? 0 : GetFlushRecPtr(nullptr));
  core::visit_ready_files(std::filesystem::path(DataDir) / "pg_wal/archive_status", [&](const core::WalFileName& file) {
    if (const auto id = core::parse_segment_name(file.name, size)) waiting = std::min(waiting, id->number);
    for (std::size_t i = 0; i < repositories; ++i) {
      if (has(memory.repository[i].ahead, file, size)) continue;
      ++backlogs.at(i).files;
      first.at(i).offer(file);
    }
  });
  for (std::size_t i = 0; i < repositories; ++i)
    if (const auto files = first.at(i).take(); !files.empty()) backlogs.at(i).oldest = files.front().name;
  if (offsite_store == nullptr || offsite_store[0] == '\0') return backlogs;
  const core::OffsiteBacklogFile file(DataDir);
  if (const auto note = file.read(offsite_store)) add_let_go(backlogs.at(offsite), *note, waiting, size);
  add_damaged(backlogs.at(offsite), file.damaged(offsite_store));
  return backlogs;
}

} // namespace dbops::server::archive
