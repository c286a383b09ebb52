// An object store in memory, for tests: with a hook that may throw in the place of a real store's failures.
#pragma once

#include "core/store/object_store.h"

#include <functional>
#include <map>
#include <mutex>

namespace dbops::core {

class MemoryStore final : public ObjectStore {
 public:
  enum class Operation { put, get, head, list, remove };
  // Called before (after = false) and after (after = true) the operation took effect; what it throws, the caller of
  // the operation sees. Throwing after a put is a lost answer.
  using Hook = std::function<void(Operation, const std::string& key, bool after)>;

  explicit MemoryStore(const Clock& clock) : clock_(clock) {}
  void set_hook(Hook hook) { hook_ = std::move(hook); }
  // Changes an object behind the store's back.
  void overwrite(const std::string& key, Bytes body);

  PutResult put_if_absent(const std::string& key, ByteView body, const CallContext& context) override;
  std::optional<Bytes> get(const std::string& key, const ByteRange& range, const CallContext& context) override;
  std::optional<ObjectInfo> head(const std::string& key, const CallContext& context) override;
  ListPage list(const ListRequest& request, const CallContext& context) override;
  void remove(const std::string& key, const CallContext& context) override;
  [[nodiscard]] std::string describe() const override { return "memory"; }

 private:
  struct Object {
    Bytes body;
    WallTime modified;
  };
  void call_hook(Operation operation, const std::string& key, bool after) const;

  const Clock& clock_;
  Hook hook_;
  mutable std::mutex mutex_;
  std::map<std::string, Object> objects_;
};

} // namespace dbops::core
