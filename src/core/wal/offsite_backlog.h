// What the second repository may lack: because it was out for too long, or because nobody here knows what happened to
// it before. Remembered in the data directory, made up for by copying from the first one.
#pragma once

#include "core/store/object_store.h"
#include "core/wal/layout.h"
#include "core/wal/object_format.h"

#include <filesystem>
#include <functional>
#include <optional>

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
  // Everything up to `position` is there, or need not be; what is missing is known by that. False, and nothing changes:
  // it is not as it was `seen` any more.
  bool advance(const OffsiteBacklog& seen, const std::string& position);
  // Everything is there. False as above.
  bool clear(const OffsiteBacklog& seen);

 private:
  struct Record {
    std::string store, server;
    std::optional<std::string> after;
    bool check = false;
    std::string own_from;
    std::uint64_t revision = 0;
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

// Copies the WAL objects of a cluster that one repository has and another lacks, as they are: both are of one format.
// Chunks are left out. Each is verified by its digest on its way, unless it needs a key that is not there.
class RepositoryCopier {
 public:
  // keys may be null. What is given must outlive the copier.
  RepositoryCopier(ObjectStore& from, ObjectStore& to, std::uint64_t system_identifier, const KeyRing* keys);

  struct Step {
    std::string position; // everything up to here is there now
    bool complete = false;
    std::uint64_t copied = 0, bytes = 0;
  };
  // Where to begin when nothing is known: before the oldest segment that the second repository has. What the first one
  // has of before that has expired there. Empty when it has no segment: then it is to get all. One behind own_from does
  // not count: a new repository may have got it from this server before anybody looked.
  // Files that were let go may lie before it.
  [[nodiscard]] std::string beginning(const std::string& own_from, const CallContext& context) const;

  // Looks at one page of at most 1000 objects behind `position` and copies at most `limit` of them.
  // Throws Error(conflict) when the other repository has another content under a name, Error(unavailable) when an
  // object is damaged in the first one, and what ObjectStore throws.
  Step copy(const std::string& position, std::size_t limit, const CallContext& context);

 private:
  [[nodiscard]] std::vector<std::string> present(const std::string& after, const std::string& last,
                                                 const CallContext& context) const;
  void copy_object(const ObjectInfo& object, const CallContext& context);
  [[nodiscard]] Bytes read(const ObjectInfo& object, const ByteRange& range, const CallContext& context) const;

  ObjectStore &from_, &to_;
  std::string root_;
  const KeyRing* keys_;
};

} // namespace dbops::core
