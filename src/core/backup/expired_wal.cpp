#include "core/backup/expired_wal.h"

#include "core/base/bytes.h"

namespace dbops::core {

namespace {

constexpr std::string_view prefix = "expired/";

std::vector<Lsn> read_notes(const BackupRepository& repository, const CallContext& context) {
  std::vector<Lsn> notes;
  ListRequest request;
  request.prefix = repository.key(std::string(prefix));
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const std::string_view name = std::string_view(object.key).substr(request.prefix.size());
      Lsn before = 0;
      if (name.size() == 16 && parse_hex_field(name, before)) notes.push_back(before);
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return notes;
}

std::string note_key(const BackupRepository& repository, Lsn before) {
  return repository.key(std::string(prefix) + hex_field(before, 16));
}

} // namespace

void note_expired_wal(const BackupRepository& repository, Lsn before, const CallContext& context) {
  repository.store.put_if_absent(note_key(repository, before), as_bytes("WAL before this was removed"), context);
  // The farthest one says all.
  for (const Lsn note : read_notes(repository, context))
    if (note < before) repository.store.remove(note_key(repository, note), context);
}

Lsn expired_wal(const BackupRepository& repository, const CallContext& context) {
  Lsn farthest = 0;
  for (const Lsn note : read_notes(repository, context))
    farthest = std::max(farthest, note);
  return farthest;
}

} // namespace dbops::core
