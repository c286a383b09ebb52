// Where contents are that were stored a while ago: equal blocks are stored once. Of bounded size, so it forgets.
#pragma once

#include "core/backup/pack.h"

#include <mutex>
#include <optional>
#include <vector>

namespace dbops::core {

class BlockIndex {
 public:
  struct Place {
    FrameRef frame;
    std::uint32_t offset = 0;
  };

  // slots: places kept at most, each of 44 bytes.
  explicit BlockIndex(std::size_t slots) : slots_(slots) {}

  std::optional<Place> find(const BlockHash& hash);
  void add(const BlockHash& hash, const Place& place);

 private:
  struct Slot {
    BlockHash hash{};
    Place place;
    bool used = false;
  };
  [[nodiscard]] std::size_t number(const BlockHash& hash) const noexcept;

  std::array<std::mutex, 64> locks_;
  std::vector<Slot> slots_;
};

} // namespace dbops::core
