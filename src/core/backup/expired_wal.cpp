#include "core/backup/expired_wal.h"

#include "core/base/bytes.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace dbops::core {

namespace {

constexpr std::string_view prefix = "expired/";

constexpr TimelineId all_timelines = std::numeric_limits<TimelineId>::max();

// Without a timeline: of all, as it was written once.
std::optional<ExpiredWal> parse_note(std::string_view name) {
  ExpiredWal note{all_timelines, 0};
  if (!parse_hex_field(name.substr(0, 16), note.before) || name.size() < 16) return {};
  if (name.size() == 16) return note;
  std::uint64_t youngest = 0;
  if (name.size() != 25 || name[16] != '-' || !parse_hex_field(name.substr(17), youngest)) return {};
  note.youngest = TimelineId(youngest);
  return note;
}

std::string note_name(const ExpiredWal& note) {
  const std::string lsn = hex_field(note.before, 16);
  return note.youngest == all_timelines ? lsn : lsn + "-" + hex_field(note.youngest, 8);
}

} // namespace

void note_expired_wal(const BackupRepository& repository, TimelineId youngest, Lsn before, const CallContext& context) {
  const auto key = [&](const ExpiredWal& note) { return repository.key(std::string(prefix) + note_name(note)); };
  repository.store.put_if_absent(key({youngest, before}), as_bytes("WAL before this was removed"), context);
  // Those of which it says all.
  for (const ExpiredWal& note : read_expired_wal(repository, context))
    if (note.before <= before && note.youngest <= youngest && (note.before < before || note.youngest < youngest))
      repository.store.remove(key(note), context);
}

std::vector<ExpiredWal> read_expired_wal(const BackupRepository& repository, const CallContext& context) {
  std::vector<ExpiredWal> notes;
  ListRequest request;
  request.prefix = repository.key(std::string(prefix));
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      if (const auto note = parse_note(std::string_view(object.key).substr(request.prefix.size())))
        notes.push_back(*note);
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return notes;
}

Lsn expired_wal(const std::vector<ExpiredWal>& notes, TimelineId timeline) {
  Lsn before = 0;
  for (const ExpiredWal& note : notes)
    if (timeline <= note.youngest) before = std::max(before, note.before);
  return before;
}

} // namespace dbops::core
