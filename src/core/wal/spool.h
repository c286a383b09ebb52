// Segments that were fetched before recovery asks for them, in a directory outside the data directory.
#pragma once

#include "core/wal/restore_file.h"
#include "core/wal/segment.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

// A file is in the spool under the name of its segment when its content is whole and verified, never before
// (RestoreFile). What is there is only as old as the machine is up: nothing is fsynced.
class Spool {
 public:
  // The directory <base>/dbops-<uid>/<key>, made if needed. Throws Error(configuration) when somebody else could change
  // what is in it, Error from errno when it cannot be made.
  Spool(const std::filesystem::path& base, const std::string& key);

  // Of one cluster's recovery from these stores into this directory, since the machine was started.
  static std::string key_of(std::uint64_t system_identifier, const std::filesystem::path& data_directory,
                            const std::vector<std::string>& stores);

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::filesystem::path path_of(const std::string& segment) const { return path_ / segment; }
  [[nodiscard]] bool has(const std::string& segment) const;
  // Somebody is fetching it: bytes so far.
  [[nodiscard]] std::optional<std::uint64_t> progress_of(const std::string& segment) const;

  // Moves the segment into `out`, or copies and removes it when that is on another file system. False: it is not there.
  bool take(const std::string& segment, RestoreFile& out) const;

  // Removes everything but the segments named, files that are being written included.
  void keep_only(const std::vector<std::string>& segments) const;

  // A repository could not be asked, which took its time: for five minutes it is better asked last.
  void note_outage(std::size_t repository) const;
  [[nodiscard]] bool is_out(std::size_t repository) const;

  // Tells the process that fills this spool that replay has come to a segment. False: there is no such process.
  [[nodiscard]] bool tell(const std::string& segment) const;

 private:
  std::filesystem::path path_;
};

// The one process that fills a spool, for as long as this object lives.
class SpoolOwner {
 public:
  // Absent: another process has the spool. Throws Error from errno.
  static std::optional<SpoolOwner> own(const Spool& spool);

  // The last segment that replay was told to have come to, waiting at most so long for one. Empty: none.
  std::string wait(int milliseconds) const;
  // Removes the spool with all that is in it.
  void remove(const Spool& spool) const;

 private:
  SpoolOwner(File lock, File requests) : lock_(std::move(lock)), requests_(std::move(requests)) {}
  File lock_, requests_;
};

// Removes the spools below <base>/dbops-<uid> that no process fills and that nobody has used for an hour: of recoveries
// that were killed, and from before the machine was started.
void remove_abandoned_spools(const Spool& mine);

} // namespace dbops::core
