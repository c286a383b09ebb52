#include "server/archive/commit_time.h"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

#include "server/guard.h"

extern "C" {
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
}

namespace dbops::server::archive {

namespace {

constexpr core::Lsn longest_look = 64 << 20; // bytes

// What the reader's callback needs. It raises nothing, so that a file that is gone is no error of the statement.
struct Source {
  core::TimelineId timeline;
  core::Lsn end; // nothing beyond it is read
  int fd;
  XLogSegNo segment; // that fd is open for
  bool missing;      // a file is gone
};

bool open_segment(Source& source, XLogSegNo segment) {
  if (source.fd >= 0 && source.segment == segment) return true;
  if (source.fd >= 0) ::close(source.fd);
  char path[MAXPGPATH];
  XLogFilePath(path, source.timeline, segment, wal_segment_size);
  source.fd = ::open(path, O_RDONLY | O_CLOEXEC);
  source.segment = segment;
  source.missing = source.fd < 0;
  return source.fd >= 0;
}

int read_page(XLogReaderState* reader, XLogRecPtr page, int wanted, XLogRecPtr, char* buffer) {
  Source& source = *static_cast<Source*>(reader->private_data);
  if (page + static_cast<XLogRecPtr>(wanted) > source.end) return -1;
  const auto count = static_cast<std::size_t>(std::min<XLogRecPtr>(XLOG_BLCKSZ, source.end - page));
  XLogSegNo segment = 0;
  XLByteToSeg(page, segment, wal_segment_size);
  if (!open_segment(source, segment)) return -1;
  const auto offset = static_cast<off_t>(XLogSegmentOffset(page, wal_segment_size));
  if (::pread(source.fd, buffer, count, offset) != static_cast<ssize_t>(count)) return -1;
  return static_cast<int>(count);
}

bool is_commit(XLogReaderState* reader, TimestampTz& time) {
  if (XLogRecGetRmid(reader) != RM_XACT_ID) return false;
  const int kind = XLogRecGetInfo(reader) & XLOG_XACT_OPMASK;
  if (kind != XLOG_XACT_COMMIT && kind != XLOG_XACT_COMMIT_PREPARED) return false;
  time = reinterpret_cast<const xl_xact_commit*>(XLogRecGetData(reader))->xact_time;
  return true;
}

// Plain C: an ERROR (of memory) may pass. A record that begins before `from` and ends behind it counts, so the look
// begins up to two pages earlier.
OldestCommit look(XLogReaderState* reader, core::Lsn from) {
  const core::Lsn in_segment = from % static_cast<core::Lsn>(wal_segment_size);
  const core::Lsn start = from - std::min<core::Lsn>(in_segment, from % XLOG_BLCKSZ + XLOG_BLCKSZ);
  if (XLogFindNextRecord(reader, start) != InvalidXLogRecPtr) {
    char* problem = nullptr;
    while (XLogReadRecord(reader, &problem) != nullptr) {
      TimestampTz time = 0;
      if (reader->EndRecPtr > from && is_commit(reader, time)) return {OldestCommit::Answer::found, time};
    }
  }
  // A record that is not flushed to its end is no commit that anybody was told of.
  const bool missing = static_cast<Source*>(reader->private_data)->missing;
  return {missing ? OldestCommit::Answer::unknown : OldestCommit::Answer::none, 0};
}

} // namespace

OldestCommit oldest_commit(core::TimelineId timeline, core::Lsn from, core::Lsn to) {
  if (from >= to) return {OldestCommit::Answer::none, 0};
  const core::Lsn end = std::min(to, from + longest_look);
  const OldestCommit commit = call_pg([&] {
    Source source{timeline, end, -1, 0, false};
    XLogReaderRoutine routine{};
    routine.page_read = read_page;
    XLogReaderState* reader = XLogReaderAllocate(wal_segment_size, nullptr, &routine, &source);
    OldestCommit found{OldestCommit::Answer::unknown, 0};
    if (reader != nullptr) {
      found = look(reader, from);
      XLogReaderFree(reader);
    }
    if (source.fd >= 0) ::close(source.fd);
    return found;
  });
  // No commit in what was looked at says nothing about the rest.
  if (commit.answer == OldestCommit::Answer::none && end < to) return {OldestCommit::Answer::unknown, 0};
  return commit;
}

} // namespace dbops::server::archive
