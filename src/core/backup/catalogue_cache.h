// The catalogue for who asks often, or wants it quickly: what was read once is not read again, since no object ever
// changes; and most of it is in one object that the newest backup has left.
#pragma once

#include "core/backup/catalogue.h"
#include "core/backup/evidence.h"
#include "core/backup/pins.h"
#include "core/backup/summary.h"

#include <map>
#include <mutex>

namespace dbops::core {

// What is told of backups.
struct BackupCatalogue {
  std::vector<CatalogueEntry> backups; // ascending
  std::vector<DrillRecord> drills;     // ascending by time
  std::vector<VerifyRecord> verifications;
  Pins pins;
};

// Of one repository. For any number of threads. About 2 kB a backup, and less a drill or verification.
// threads: requests at a time.
class CatalogueCache {
 public:
  BackupCatalogue all(const BackupRepository& repository, unsigned threads, const CallContext& context);
  // As read_catalogue(); the heads lack control_file, backup_label and tablespace_map. A manifest that was lost or
  // damaged after it was summarised is not noticed: dbops verify looks.
  std::vector<CatalogueEntry> backups(const BackupRepository& repository, unsigned threads, const CallContext& context);
  // Ascending by time. One that is not readable is left out: it proves nothing.
  std::vector<DrillRecord> drills(const BackupRepository& repository, unsigned threads, const CallContext& context);
  std::vector<VerifyRecord> verifications(const BackupRepository& repository, unsigned threads,
                                          const CallContext& context);

  // All that it knows, what is the most important first.
  [[nodiscard]] std::vector<SummaryEntry> entries() const;

 private:
  struct Known {
    BackupHead head;
    bool summarised = false; // it had its own summary
  };
  template <class Record>
  using Records = std::map<std::string, std::optional<Record>>; // by name; absent: not readable
  using Names = std::vector<std::string>;                       // ascending

  template <class Record>
  [[nodiscard]] Names unknown_of(Records<Record>& known, const Names& names);
  [[nodiscard]] Names unknown_backups(const Names& labels, const Names& summaries);
  void learn(const BackupRepository& repository, const Names& summaries, const CallContext& context);
  void take(const std::vector<SummaryEntry>& entries, const Names& summaries);
  std::vector<CatalogueEntry> read_backups(const Names& labels, const Names& summaries,
                                           const BackupRepository& repository, unsigned threads,
                                           const CallContext& context);
  template <class Record, class Decode>
  std::vector<Record> read_records(Records<Record>& known, const Names& names, const Decode& decode,
                                   const BackupRepository& repository, unsigned threads, const CallContext& context);
  template <class Record, class Decode>
  std::vector<Record> records(Records<Record>& known, const std::string& directory, const Decode& decode,
                              const BackupRepository& repository, unsigned threads, const CallContext& context);

  mutable std::mutex mutex_;
  std::map<std::string, Known> heads_; // by label
  Records<DrillRecord> drills_;
  Records<VerifyRecord> verifications_;
};

// Writes the summary of the catalogue as backup `label` leaves it, whose manifest is there.
void put_summary(const BackupRepository& repository, const std::string& label, unsigned threads,
                 const CallContext& context);

} // namespace dbops::core
