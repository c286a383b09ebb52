// A backup back into a data directory.
#pragma once

#include "core/backup/manifest_store.h"
#include "core/backup/pack_reader.h"
#include "core/base/log.h"

#include <atomic>
#include <filesystem>
#include <map>

namespace dbops::core {

struct RestoreOptions {
  std::filesystem::path data_directory; // absolute
  // What is there already may stay: blocks with the right content are not fetched, what is not in the backup is
  // removed.
  bool delta = false;
  bool discard_wal = false;  // with delta: also WAL that was not archived yet
  bool ignore_space = false; // warns of too little
  unsigned threads = 2;
  std::map<std::uint32_t, std::string> tablespaces; // other places for them, by OID
  std::string recovery_settings;                    // appended to postgresql.auto.conf
  std::string signal_file;                          // "recovery.signal", "standby.signal"; empty: none
};

struct RestoreProgress {
  std::atomic<std::uint64_t> bytes{0};      // of files, in place and verified
  std::atomic<std::uint64_t> bytes_kept{0}; // of those: that were there already
  std::atomic<std::uint64_t> bytes_read{0}; // from the store
  std::atomic<std::uint64_t> files{0};
  std::atomic<std::uint64_t> bytes_total{0}; // of the backup's files; 0: not known yet
};

// In the data directory from the first change on until it is whole. A directory that has it may be restored into again,
// and what is there is used.
constexpr const char* restore_marker = "dbops.restore";

// First everything that can be found out without a change: that the directory may be used, that no server runs in it,
// that there is space, that manifest and packs are all there. Then files; global/pg_control last, without which no
// server starts. All is durable when it returns. Throws Error: configuration (the directory may not be used), no_space,
// not_found and corrupt (naming file, block and pack), and what ObjectStore throws.
void restore_backup(const BackupRepository& repository, const BackupHead& head, const RestoreOptions& options,
                    RestoreProgress& progress, const LogSink& log, const CallContext& context);

// Whether all packs of a backup are in the store with the size that they had. Returns those that are not.
std::vector<PackInfo> missing_packs(const BackupRepository& repository, const std::vector<PackInfo>& packs,
                                    const CallContext& context);

} // namespace dbops::core
