// Objects as files below a directory: a disk, or a mounted network file system that honours link(2) and fsync(2).
#pragma once

#include "core/base/random.h"
#include "core/store/object_store.h"

#include <filesystem>
#include <mutex>
#include <set>

namespace dbops::core {

// A put writes a file of a temporary name, fsyncs it, links it to its name (which fails when the name is taken) and
// fsyncs the directory. What a crash leaves behind is files whose name begins with ".dbops-"; one that is older than a
// day is removed when something is put beside it.
class FileStore final : public ObjectStore {
 public:
  // root: an existing directory, absolute. It is never created: an unmounted file system must be an error.
  // random: for temporary names; must outlive the store. Throws Error(configuration).
  FileStore(std::filesystem::path root, Random& random);

  PutResult put_if_absent(const std::string& key, ByteView body, const CallContext& context) override;
  std::unique_ptr<ObjectUpload> begin_upload(const std::string& key, std::size_t head_size,
                                             const CallContext& context) override;
  std::optional<Bytes> get(const std::string& key, const ByteRange& range, const CallContext& context) override;
  std::optional<ObjectInfo> head(const std::string& key, const CallContext& context) override;
  void make_durable(const std::string& key, const CallContext& context) override;
  ListPage list(const ListRequest& request, const CallContext& context) override;
  void remove(const std::string& key, const CallContext& context) override;
  [[nodiscard]] std::string describe() const override { return "file://" + root_.string(); }

 private:
  class Upload;
  [[nodiscard]] std::filesystem::path path_of(const std::string& key) const;
  void require_root() const;
  void make_directories(const std::filesystem::path& directory);
  template <typename F>
  auto outage_when_gone(F write) -> decltype(write());

  std::filesystem::path root_;
  // Made or seen in the root. One that has to be made again shows that this is not the file system that it was.
  std::set<std::filesystem::path> top_directories_;
  Random& random_;
  std::mutex mutex_;
  std::set<std::filesystem::path> durable_directories_; // made and fsynced by this object
};

} // namespace dbops::core
