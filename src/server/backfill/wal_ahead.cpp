#include "server/backfill/wal_ahead.h"

#include <algorithm>

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

bool is_there(XLogSegNo segment) {
  char path[MAXPGPATH];
  XLogFilePath(path, GetWALInsertionTimeLine(), segment, wal_segment_size);
  return access(path, F_OK) == 0;
}

} // namespace

std::optional<std::uint64_t> WalAhead::missing(std::uint64_t bytes) {
  const auto size = static_cast<std::uint64_t>(wal_segment_size);
  const std::uint64_t wanted = std::min(bytes / size, std::max<std::uint64_t>(most_bytes_ahead / size, 1));
  const std::uint64_t last = GetXLogInsertRecPtr() / size + wanted;
  ready_ = std::max(ready_, last - wanted + 1);
  while (ready_ <= last && is_there(ready_))
    ++ready_;
  return ready_ <= last ? std::optional(ready_) : std::nullopt;
}

void make_wal_segment(std::uint64_t number) {
  call_pg([number] { close(XLogFileInit(number, GetWALInsertionTimeLine())); });
}

} // namespace dbops::server::backfill
