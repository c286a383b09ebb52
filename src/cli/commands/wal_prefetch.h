// dbops wal-prefetch: the process in the background that fills the spool of wal-get
#pragma once

#include "cli/recovery_process.h"
#include "cli/stores.h"
#include "core/wal/spool.h"

#include <cstdint>
#include <string>

namespace dbops::cli {

struct SpoolSettings {
  std::string directory;                  // empty: TMPDIR, or /tmp
  std::uint64_t size = 256 << 20;         // bytes; 0: no spool
  [[nodiscard]] std::string base() const; // where the spool is made
};

// Not for people: wal-get starts it, and it ends by itself.
struct WalPrefetchCommand {
  StoreSettings stores;
  SpoolSettings spool;
  std::string key;     // of the spool
  std::string segment; // that replay has come to
  std::uint64_t segment_size = 0;
  pid_t recovery = 0; // whom it works for, see RecoveryProcess
  std::string recovery_started;
};

int run(const WalPrefetchCommand& command);

// Starts it as a process of its own, with the environment of this one. The stores' system identifier must be set.
void start_prefetch(const WalPrefetchCommand& command);

} // namespace dbops::cli
