// Whether backups can be restored, without restoring them.
#pragma once

#include "core/backup/catalogue.h"
#include "core/base/log.h"

#include <atomic>

namespace dbops::core {

struct VerifyOptions {
  std::string label = {}; // empty: all backups and dumps
  bool deep = false;      // read, decrypt and hash every object; otherwise: that they are there, with the right size
  unsigned threads = 2;
  bool restart = false; // do not go on with a deep verification that was interrupted
  // How long a gap in WAL may stay whose segments may be on their way to the store.
  std::chrono::steady_clock::duration gap_time = std::chrono::seconds(30);
};

struct VerifyProgress {
  std::atomic<std::uint64_t> packs{0}, packs_total{0}, bytes{0}, wal_objects{0};
};

// As the backup of damage that concerns WAL that no backup needs, but recovery behind one.
constexpr const char* wal_damage = "WAL";

struct Damage {
  std::string backup; // label, or wal_damage
  std::string what;   // for people: relation, file, fork and blocks, or the object
};

struct VerifyResult {
  std::uint64_t backups = 0, packs = 0, dumps = 0;
  std::uint64_t resumed = 0; // objects that an interrupted run had read
  std::vector<Damage> damage;
  std::vector<std::string> whole; // labels of the backups that nothing is wrong with
};

// Of each backup: its manifest, its lists, its packs, and WAL from its start to its stop; of each dump, its pieces; and
// that WAL has no gap within a recovery window but what expiry has removed. deep: all of WAL is read, too. One that is
// interrupted keeps what it has read in the store, and the next one of the same scope goes on from there.
// Packs that are damaged or missing are noted in the store ("damaged/<id>"): the next backup does not use them, and
// stores their blocks again; a deep verification that finds one to be whole removes the note. The result is kept in the
// store as well ("verify/<time>-<random>.json"), if it may be written to: damage that was found by reading is reported
// by each verification until a deep one finds that it has gone. Throws what ObjectStore throws, and Error(key_missing)
// or Error(key_wrong), with which nothing is said of the objects, and nothing is kept.
VerifyResult verify(const BackupRepository& repository, const VerifyOptions& options, VerifyProgress& progress,
                    const LogSink& log, const CallContext& context);

} // namespace dbops::core
