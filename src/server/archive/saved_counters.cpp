#include "server/archive/saved_counters.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <unistd.h>

extern "C" {
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
}

namespace dbops::server::archive {

namespace {

constexpr const char* path = PGSTAT_STAT_PERMANENT_DIRECTORY "/dbops_archive.stat";
constexpr const char* temporary_path = PGSTAT_STAT_PERMANENT_DIRECTORY "/dbops_archive.tmp";
constexpr std::uint32_t format = 0x0dbab502; // changes with what follows

struct SavedRepository {
  std::int64_t files, file_bytes, chunks, merges, chunk_bytes, stored_bytes, retries, failures;
  TimestampTz last_file_at, last_chunk_at;
  char last_file[sizeof RepositoryStatus::last_file];
};

struct SavedCounters {
  std::uint32_t format, size;
  // Of which stop of which server.
  std::uint64_t system_identifier;
  XLogRecPtr checkpoint;
  pg_time_t stopped_at;
  TimestampTz reset;
  SavedRepository repository[repositories];
};

// From one to the other, both of which have these fields.
template <typename From, typename To>
void copy_counters(const From& from, To& to) {
  to.files = from.files;
  to.file_bytes = from.file_bytes;
  to.chunks = from.chunks;
  to.merges = from.merges;
  to.chunk_bytes = from.chunk_bytes;
  to.stored_bytes = from.stored_bytes;
  to.retries = from.retries;
  to.failures = from.failures;
  to.last_file_at = from.last_file_at;
  to.last_chunk_at = from.last_chunk_at;
  strlcpy(to.last_file, from.last_file, sizeof to.last_file);
}

pg_crc32c checksum(const SavedCounters& saved) {
  pg_crc32c crc = 0;
  INIT_CRC32C(crc);
  COMP_CRC32C(crc, &saved, sizeof saved);
  FIN_CRC32C(crc);
  return crc;
}

// False: the server has not been shut down. The time tells apart two stops of a standby at one checkpoint.
bool describe_stop(SavedCounters& saved) {
  bool intact = false;
  ControlFileData* const control = get_controlfile(DataDir, &intact);
  saved.system_identifier = control->system_identifier;
  saved.checkpoint = control->checkPoint;
  saved.stopped_at = control->time;
  const bool shut_down = intact && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);
  pfree(control);
  return shut_down;
}

bool is_of_last_stop(const SavedCounters& saved) {
  SavedCounters now{};
  return describe_stop(now) && now.system_identifier == saved.system_identifier && now.checkpoint == saved.checkpoint &&
         now.stopped_at == saved.stopped_at;
}

bool read_saved(FILE* file, SavedCounters& saved) {
  pg_crc32c crc = 0;
  return std::fread(&saved, sizeof saved, 1, file) == 1 && std::fread(&crc, sizeof crc, 1, file) == 1 &&
         std::fgetc(file) == EOF && saved.format == format && saved.size == sizeof saved && crc == checksum(saved);
}

bool write_saved(FILE* file, const SavedCounters& saved) {
  const pg_crc32c crc = checksum(saved);
  return std::fwrite(&saved, sizeof saved, 1, file) == 1 && std::fwrite(&crc, sizeof crc, 1, file) == 1;
}

void say(const char* what, const char* file) {
  ereport(LOG, (errcode_for_file_access(), errmsg("dbops: could not %s file \"%s\": %m", what, file)));
}

} // namespace

void load_counters(ArchiveShared& memory) noexcept {
  FILE* const file = AllocateFile(path, PG_BINARY_R);
  if (file == nullptr) {
    if (errno != ENOENT) say("open", path);
    return;
  }
  SavedCounters saved{};
  const bool good = read_saved(file, saved);
  (void)FreeFile(file);
  if (!good) ereport(LOG, (errmsg("dbops: file \"%s\" is not readable: the archive's counters begin at 0", path)));
  // It stays where it is: this start may fail yet. Once the server runs, the file is not of its last stop any more.
  if (!good || !is_of_last_stop(saved)) {
    if (::unlink(path) != 0) say("remove", path);
    return;
  }
  for (int i = 0; i < repositories; ++i)
    copy_counters(saved.repository[i], memory.repository[i]);
  memory.reset = saved.reset;
}

void save_counters(const ArchiveShared& memory) noexcept {
  SavedCounters saved;
  std::memset(static_cast<void*>(&saved), 0, sizeof saved); // the padding is in the checksum
  saved.format = format;
  saved.size = sizeof saved;
  if (!describe_stop(saved)) return; // stopped at once, as by a crash
  saved.reset = memory.reset;
  for (int i = 0; i < repositories; ++i)
    copy_counters(memory.repository[i], saved.repository[i]);
  FILE* const file = AllocateFile(temporary_path, PG_BINARY_W);
  if (file == nullptr) return say("open", temporary_path);
  const bool written = write_saved(file, saved);
  if (!written) say("write", temporary_path);
  if (FreeFile(file) != 0 || !written) {
    if (written) say("write", temporary_path);
    (void)::unlink(temporary_path);
    return;
  }
  (void)durable_rename(temporary_path, path, LOG);
}

} // namespace dbops::server::archive
