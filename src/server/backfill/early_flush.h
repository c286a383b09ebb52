// Keeps the WAL of a long statement from piling up in front of the application's commits.
#pragma once

namespace dbops::server::backfill {

// A commit of the application waits until all WAL before its own is on disk, what a batch has written since the last
// flush included: up to some 10 MB in 100 ms. While an EarlyFlush lives, the WAL writer is woken every few
// milliseconds, so that it flushes in pieces of wal_writer_flush_after, beside the batch, and little is left to wait
// for. One at a time in a process.
class EarlyFlush {
 public:
  EarlyFlush();
  ~EarlyFlush();
  EarlyFlush(const EarlyFlush&) = delete;
  EarlyFlush& operator=(const EarlyFlush&) = delete;
};

} // namespace dbops::server::backfill
