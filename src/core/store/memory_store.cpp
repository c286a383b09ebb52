#include "core/store/memory_store.h"

#include <algorithm>

namespace dbops::core {

void MemoryStore::call_hook(Operation operation, const std::string& key, bool after) const {
  if (hook_) hook_(operation, key, after);
}

void MemoryStore::overwrite(const std::string& key, Bytes body) {
  const std::lock_guard lock(mutex_);
  objects_[key] = {std::move(body), clock_.wall_now()};
}

PutResult MemoryStore::put_if_absent(const std::string& key, ByteView body, const CallContext& /*context*/) {
  validate_key(key);
  call_hook(Operation::put, key, false);
  bool created = false;
  {
    const std::lock_guard lock(mutex_);
    created = objects_.try_emplace(key, Object{Bytes(body.begin(), body.end()), clock_.wall_now()}).second;
  }
  call_hook(Operation::put, key, true);
  return created ? PutResult::created : PutResult::exists;
}

std::optional<Bytes> MemoryStore::get(const std::string& key, const ByteRange& range, const CallContext& /*context*/) {
  validate_key(key);
  call_hook(Operation::get, key, false);
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(key);
  if (found == objects_.end()) return {};
  const Bytes& body = found->second.body;
  const auto from = std::size_t(std::min<std::uint64_t>(range.offset, body.size()));
  const auto length = std::size_t(std::min<std::uint64_t>(range.length.value_or(body.size()), body.size() - from));
  const ByteView part = ByteView(body).subspan(from, length);
  return Bytes(part.begin(), part.end());
}

std::optional<ObjectInfo> MemoryStore::head(const std::string& key, const CallContext& /*context*/) {
  validate_key(key);
  call_hook(Operation::head, key, false);
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(key);
  if (found == objects_.end()) return {};
  return ObjectInfo{key, found->second.body.size(), found->second.modified};
}

ListPage MemoryStore::list(const ListRequest& request, const CallContext& /*context*/) {
  call_hook(Operation::list, request.prefix, false);
  const std::lock_guard lock(mutex_);
  ListPageBuilder page(request);
  for (auto object = objects_.lower_bound(page.first_wanted()); object != objects_.end(); ++object)
    if (!page.offer({object->first, object->second.body.size(), object->second.modified})) break;
  return page.take();
}

void MemoryStore::remove(const std::string& key, const CallContext& /*context*/) {
  validate_key(key);
  call_hook(Operation::remove, key, false);
  const std::lock_guard lock(mutex_);
  objects_.erase(key);
}

} // namespace dbops::core
