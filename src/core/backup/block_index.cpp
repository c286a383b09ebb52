#include "core/backup/block_index.h"

#include <cstring>

namespace dbops::core {

std::size_t BlockIndex::number(const BlockHash& hash) const noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, hash.data(), sizeof value);
  return std::size_t(value % slots_.size());
}

std::optional<BlockIndex::Place> BlockIndex::find(const BlockHash& hash) {
  if (slots_.empty()) return {};
  const std::size_t slot = number(hash);
  const std::lock_guard lock(locks_.at(slot % locks_.size()));
  if (!slots_[slot].used || slots_[slot].hash != hash) return {};
  return slots_[slot].place;
}

void BlockIndex::add(const BlockHash& hash, const Place& place) {
  if (slots_.empty()) return;
  const std::size_t slot = number(hash);
  const std::lock_guard lock(locks_.at(slot % locks_.size()));
  slots_[slot] = {hash, place, true};
}

} // namespace dbops::core
