// Copies from one repository of a cluster what another one lacks.
#pragma once

#include "core/base/error.h"
#include "core/store/object_store.h"
#include "core/wal/object_format.h"

#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

// An object that cannot be read in the first repository.
struct DamagedObject {
  std::string name;    // below the cluster's prefix
  std::string problem; // a sentence that names the object and the store
};

// Copies the WAL objects of a cluster that one repository has and another lacks, as they are: both are of one format.
// Chunks are left out. Each is verified by its digest on its way, unless it needs a key that is not there.
class RepositoryCopier {
 public:
  // keys may be null. What is given must outlive the copier.
  RepositoryCopier(ObjectStore& from, ObjectStore& to, std::uint64_t system_identifier, const KeyRing* keys);

  struct Step {
    std::string position; // everything up to here is there now, but for what is damaged
    bool complete = false;
    std::uint64_t copied = 0, bytes = 0;
    std::vector<DamagedObject> damaged = {}; // passed over
  };
  // Where to begin when nothing is known: before the oldest segment that the second repository has. What the first one
  // has of before that has expired there. Empty when it has no segment: then it is to get all. One behind own_from does
  // not count: a new repository may have got it from this server before anybody looked.
  // Files that were let go may lie before it.
  [[nodiscard]] std::string beginning(const std::string& own_from, const CallContext& context) const;

  // Looks at one page of at most 1000 objects behind `position` and copies, or finds damaged, at most `limit` of them.
  // Throws Error(conflict) when the other repository has another content under a name, and what ObjectStore throws but
  // for what concerns the reading of one object.
  Step copy(const std::string& position, std::size_t limit, const CallContext& context);

  // Copies the named ones, unless the first repository has them no more or the second one has them. Returns those that
  // still cannot be read. Throws as copy().
  std::vector<DamagedObject> copy_again(const std::vector<std::string>& names, const CallContext& context);

 private:
  [[nodiscard]] std::vector<std::string> present(const std::string& after, const std::string& last,
                                                 const CallContext& context) const;
  // Absent: it is there now.
  std::optional<DamagedObject> copy_object(const ObjectInfo& object, const CallContext& context);
  void require_answer(const Error& failure, const CallContext& context) const;
  [[nodiscard]] Bytes read(const ObjectInfo& object, const ByteRange& range, const CallContext& context) const;

  ObjectStore &from_, &to_;
  std::string root_;
  const KeyRing* keys_;
};

} // namespace dbops::core
