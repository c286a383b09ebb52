// Where the blocks of 32 MiB of a file are, and what their contents must be.
#pragma once

#include "core/backup/pack.h"

#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace dbops::core {

struct BlockEntry {
  static constexpr std::uint32_t zero = 0xffffffff; // as `frame`: the block is all zero, and stored nowhere
  BlockHash hash{};                                 // of a zero block: unset
  std::uint32_t frame = zero;                       // index into RegionMap::frames
  std::uint32_t offset = 0;                         // of the block in the frame's plaintext
};

struct RegionMap {
  std::vector<FrameRef> frames;
  std::vector<BlockEntry> blocks; // at most region_blocks

  // Where block `index` is, with the frame in place of its index. Two blocks are the same when both agree.
  [[nodiscard]] FrameRef frame_of(const BlockEntry& block) const { return frames[block.frame]; }
};

// Adds a frame to `map` unless it is there, and returns its index; for frames that come in runs.
class FrameTable {
 public:
  explicit FrameTable(RegionMap& map) : map_(map) {}
  std::uint32_t index(const FrameRef& frame);

 private:
  RegionMap& map_;
  std::map<FrameRef, std::uint32_t> known_;
};

Bytes encode_region_map(const RegionMap& map);

// What `map` says differently from `base`, which is stored as `base_ref` and is not itself a difference. Absent: it
// would not be much smaller than the whole.
std::optional<Bytes> encode_region_difference(const RegionMap& map, const RegionMap& base, const BlobRef& base_ref);

// A map, and the whole one that it is a difference to.
struct StoredRegionMap {
  RegionMap map;
  std::optional<BlobRef> base; // absent: it is a whole one itself
};

// load: reads the map that a difference refers to. Throws Error(corrupt), and what load throws.
StoredRegionMap decode_region_map(ByteView blob, const std::function<Bytes(const BlobRef&)>& load);

void write_blob_ref(ByteWriter& out, const BlobRef& ref);
BlobRef read_blob_ref(ByteReader& in);

} // namespace dbops::core
