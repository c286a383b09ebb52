// The catalogue for who asks often: what was read once is not read again, since no object ever changes.
#pragma once

#include "core/backup/catalogue.h"
#include "core/backup/evidence.h"

#include <map>
#include <mutex>

namespace dbops::core {

// Of one repository. For any number of threads. About 2 kB a backup, and less a drill or verification.
class CatalogueCache {
 public:
  // As read_catalogue(); the heads lack control_file.
  std::vector<CatalogueEntry> backups(const BackupRepository& repository, unsigned threads, const CallContext& context);
  // Ascending by time. One that is not readable is left out: it proves nothing.
  std::vector<DrillRecord> drills(const BackupRepository& repository, unsigned threads, const CallContext& context);
  std::vector<VerifyRecord> verifications(const BackupRepository& repository, unsigned threads,
                                          const CallContext& context);

 private:
  template <class Record>
  using Records = std::map<std::string, std::optional<Record>>; // by name; absent: not readable
  template <class Record, class Decode>
  std::vector<Record> records(Records<Record>& known, const std::string& directory, const Decode& decode,
                              const BackupRepository& repository, unsigned threads, const CallContext& context);

  std::mutex mutex_;
  std::map<std::string, BackupHead> heads_; // by label
  Records<DrillRecord> drills_;
  Records<VerifyRecord> verifications_;
};

} // namespace dbops::core
