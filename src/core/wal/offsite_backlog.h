// What the second repository may lack: because it was out for too long, or because nobody here knows what happened to
// it before. Remembered in the data directory, made up for by copying from the first one.
#pragma once

#include "core/wal/segment.h"

#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

namespace dbops::core {

struct OffsiteBacklog {
  std::string store; // URL of the repository that is behind
  // Objects whose key below the cluster's prefix comes after this may be missing: all of them when it is empty. Absent:
  // no file was let go.
  std::optional<std::string> after;
  bool check = false;         // what is missing is to be found out: see RepositoryCopier::beginning
  std::string own_from;       // while it is: what this server puts there comes after this; empty: not known
  std::uint64_t revision = 0; // counts the files that were let go, and what else makes more missing
};

// <data directory>/dbops.offsite_backlog. Used by several processes at once.
class OffsiteBacklogFile {
 public:
  explicit OffsiteBacklogFile(std::filesystem::path data_directory);

  // Durable when it returns: all of that repository is to be compared, unless this has been said for the same server
  // before, without another store in between. A copy of the data directory knows nothing of what the original let go
  // since, so a server is one data directory on one timeline. True: it was not said before.
  // Only the archiver acknowledges files, so only it can say that it knows the store from now on. What anybody else
  // asks for is asked for once more by the archiver, before it acknowledges the next file.
  // own_from is asked for then: what this server puts there from now on comes after it, see first_own_position().
  enum class Asker { archiver, other };
  bool require_check(const std::string& store, const std::string& server, Asker asker,
                     const std::function<std::string()>& own_from = {});
  // Durable when it returns: files are acknowledged without any second repository. When there is one again, it is
  // compared. False: that has been written down before, there is nothing to forget, or it need not be written.
  // next: the file that is acknowledged then.
  bool forget_server(const WalFileName& next);
  // Absent: that repository lacks nothing. A file about another repository counts as none.
  [[nodiscard]] std::optional<OffsiteBacklog> read(const std::string& store) const;
  // Durable when it returns: only then may the file be recycled.
  void add(const std::string& store, const WalFileName& file);
  // Everything up to `position` is there, or need not be, or is damaged; what is missing is known by that. False, and
  // nothing changes: it is not as it was `seen` any more. Throws Error(unavailable) when more than max_damaged objects
  // are damaged.
  bool advance(const OffsiteBacklog& seen, const std::string& position, const std::vector<std::string>& damaged = {});
  // Everything is there, but for what is damaged. False and errors as above.
  bool clear(const OffsiteBacklog& seen, const std::vector<std::string>& damaged = {});

  // Objects of the first repository, by their keys below the cluster's prefix, ascending: they cannot be read there, so
  // that repository lacks them. It counts as complete all the same.
  [[nodiscard]] std::vector<std::string> damaged(const std::string& store) const;
  // Those of `tried` that are not in `still` are there now, or need not be. Durable when it returns.
  void tried_again(const std::string& store, const std::vector<std::string>& tried,
                   const std::vector<std::string>& still);
  static constexpr std::size_t max_damaged = 256;

 private:
  struct Record {
    std::string store, server;
    std::optional<std::string> after;
    bool check = false;
    std::string own_from;
    std::uint64_t revision = 0;
    std::vector<std::string> damaged = {}; // ascending
    void add_damaged(const std::vector<std::string>& keys);
    [[nodiscard]] bool is(const OffsiteBacklog& seen) const;
  };
  static std::optional<Record> parse(const std::string& text);
  [[nodiscard]] std::optional<Record> read_record() const;
  [[nodiscard]] std::optional<Record> read_record(const std::string& store) const;
  void write(const Record& record) const;
  std::filesystem::path directory_, path_;
};

// Comes, as a key below the cluster's prefix, before all that a server can upload that is at `current` now: what is
// ready to be archived, and what it writes from there on. Throws Error when the directory cannot be read.
std::string first_own_position(const std::filesystem::path& archive_status, const SegmentId& current, SegmentSize size);

// The first segment that a repository may lack, which has everything up to `position`: a key below the cluster's
// prefix, of an object or what comes right before one. Absent: it is not known by that.
std::optional<SegmentId> first_lacking_segment(const std::string& position, SegmentSize size);

} // namespace dbops::core
