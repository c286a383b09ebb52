#include "server/backfill/wal_ahead.h"

#include <algorithm>

#include <sys/statvfs.h>
#include <unistd.h>

#include "server/compat.h"
#include "server/guard.h"

extern "C" {
#include "access/xlog.h"
#include "access/xlog_internal.h"
}

namespace dbops::server::backfill {

namespace {

constexpr std::uint64_t most_bytes_ahead = 64 << 20; // half a second of a job at full speed
constexpr std::uint64_t spare_segments = 16;         // that the disk has room for besides, or nothing is made on stock

bool is_there(XLogSegNo segment) {
  char path[MAXPGPATH];
  XLogFilePath(path, GetWALInsertionTimeLine(), segment, wal_segment_size);
  return access(path, F_OK) == 0;
}

// The last of the space belongs to those who cannot wait for it: a server that cannot write WAL goes down.
bool has_room() {
  struct statvfs disk {};
  return statvfs(XLOGDIR, &disk) == 0 && static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize >=
                                             spare_segments * static_cast<std::uint64_t>(wal_segment_size);
}

} // namespace

std::optional<std::uint64_t> WalAhead::missing(std::uint64_t bytes) {
  const auto size = static_cast<std::uint64_t>(wal_segment_size);
  const std::uint64_t wanted = std::min(bytes / size, std::max<std::uint64_t>(most_bytes_ahead / size, 1));
  const std::uint64_t last = GetXLogInsertRecPtr() / size + wanted;
  ready_ = std::max(ready_, last - wanted + 1);
  while (ready_ <= last && is_there(ready_))
    ++ready_;
  return ready_ <= last && has_room() ? std::optional(ready_) : std::nullopt;
}

void make_wal_segment(std::uint64_t number) {
  call_pg([number] { close(XLogFileInit(number, GetWALInsertionTimeLine())); });
}

} // namespace dbops::server::backfill
