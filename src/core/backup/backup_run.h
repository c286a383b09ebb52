// A backup of a running server: everything but the SQL calls that start and stop it.
#pragma once

#include "core/backup/backup_worker.h"
#include "core/backup/manifest_store.h"

#include <atomic>
#include <filesystem>

namespace dbops::core {

struct BackupOptions {
  bool full = false; // compare with no earlier backup: all blocks are stored again
  unsigned threads = 2;
  std::uint64_t bytes_per_second = 0; // read from the data directory; 0: no limit
  std::string user_label;
  std::map<std::string, std::string> annotations;
};

// What pg_backup_start() and the server's settings say.
struct BackupStart {
  std::filesystem::path data_directory;
  std::uint32_t server_version = 0;
  bool page_checksums = false;
  Lsn lsn = 0;
};

// What pg_backup_stop() says.
struct BackupStop {
  Lsn lsn = 0;
  TimelineId timeline = 0; // of the stop position
  WallTime time;           // by the server's clock
  std::string backup_label, tablespace_map;
};

// For who watches, from another thread.
struct BackupProgress {
  std::atomic<std::uint64_t> bytes_read{0}, files{0}, new_bytes{0};
};

class BackupRun {
 public:
  // repository, log: must outlive the run. Creates the object that says that a backup has begun, finds earlier ones to
  // compare with; reads nothing of the server yet. Throws Error, conflict when another one began in the same second.
  BackupRun(const BackupRepository& repository, BackupOptions options, LogSink log, const CallContext& context);
  ~BackupRun();
  BackupRun(const BackupRun&) = delete;
  BackupRun& operator=(const BackupRun&) = delete;

  [[nodiscard]] const std::string& label() const noexcept;
  // Empty: there is no earlier backup.
  [[nodiscard]] const std::string& base() const noexcept;
  [[nodiscard]] const BackupProgress& progress() const noexcept;

  // Stops reading until it is let go on: when others are to have the machine. From any thread.
  void hold(bool on) noexcept;

  // Between start and stop. Returns when all blocks, but not the manifest, are durable.
  void copy(const BackupStart& start, const CallContext& context);
  // After the stop, and after all WAL from start to stop is in the repository: makes it a backup. Throws
  // Error(conflict) when another one of this repository was finished meanwhile, from another machine: expiry takes this
  // one for aborted then.
  BackupHead finish(const BackupStop& stop, const CallContext& context);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace dbops::core
