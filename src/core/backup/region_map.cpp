#include "core/backup/region_map.h"

#include "core/base/error.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::uint8_t form_whole = 1, form_difference = 2;
// A difference to more than an eighth of the blocks is stored as a whole map.
constexpr std::size_t largest_difference = 8;

[[noreturn]] void damaged(const char* what) {
  throw Error(ErrorKind::corrupt, std::string("a block map is damaged: ") + what);
}

// Blocks one after another in one frame, or zero blocks.
struct Run {
  std::uint32_t frame = 0, offset = 0, count = 0;
};

bool continues(const Run& run, const BlockEntry& block) {
  if (run.frame != block.frame) return false;
  return block.frame == BlockEntry::zero || block.offset == run.offset + run.count * block_size;
}

std::vector<Run> runs_of(const std::vector<const BlockEntry*>& blocks) {
  std::vector<Run> runs;
  for (const BlockEntry* block : blocks)
    if (!runs.empty() && continues(runs.back(), *block))
      ++runs.back().count;
    else
      runs.push_back({block->frame, block->frame == BlockEntry::zero ? 0 : block->offset, 1});
  return runs;
}

void write_frames(ByteWriter& out, const RegionMap& map, const std::vector<const BlockEntry*>& blocks,
                  std::vector<std::uint32_t>& renumbered) {
  std::vector<FrameRef> used;
  std::vector<PackId> packs;
  renumbered.assign(map.frames.size(), BlockEntry::zero);
  for (const BlockEntry* block : blocks)
    if (block->frame != BlockEntry::zero && renumbered[block->frame] == BlockEntry::zero) {
      renumbered[block->frame] = std::uint32_t(used.size());
      used.push_back(map.frames[block->frame]);
      packs.push_back(used.back().pack);
    }
  std::ranges::sort(packs);
  packs.erase(std::unique(packs.begin(), packs.end()), packs.end());
  out.u32(std::uint32_t(packs.size()));
  for (const PackId& pack : packs)
    out.raw(pack);
  out.u32(std::uint32_t(used.size()));
  for (const FrameRef& frame : used) {
    out.u16(std::uint16_t(std::ranges::lower_bound(packs, frame.pack) - packs.begin()));
    out.u32(frame.offset);
    out.u32(frame.length);
  }
}

void write_blocks(ByteWriter& out, const RegionMap& map, const std::vector<const BlockEntry*>& blocks) {
  std::vector<std::uint32_t> renumbered;
  write_frames(out, map, blocks, renumbered);
  const std::vector<Run> runs = runs_of(blocks);
  out.u32(std::uint32_t(runs.size()));
  for (const Run& run : runs) {
    out.u32(run.frame == BlockEntry::zero ? run.frame : renumbered[run.frame]);
    out.u32(run.offset);
    out.u16(std::uint16_t(run.count));
  }
  for (const BlockEntry* block : blocks)
    if (block->frame != BlockEntry::zero) out.raw(block->hash);
}

// A count of things of which each takes at least `width` bytes: so it cannot be more than what is left.
std::uint32_t bounded_count(ByteReader& in, std::size_t width) {
  const std::uint32_t count = in.u32();
  if (count > in.remaining() / width) damaged("a count is beyond its end");
  return count;
}

std::vector<FrameRef> read_frames(ByteReader& in) {
  std::vector<PackId> packs(bounded_count(in, PackId().size()));
  for (PackId& pack : packs)
    std::ranges::copy(in.raw(pack.size()), pack.begin());
  std::vector<FrameRef> frames(bounded_count(in, 10));
  for (FrameRef& frame : frames) {
    const std::size_t pack = in.u16();
    if (pack >= packs.size()) damaged("a frame is in no pack");
    frame = {packs[pack], in.u32(), in.u32()};
  }
  return frames;
}

std::vector<BlockEntry> read_blocks(ByteReader& in, std::size_t expected, std::size_t frames) {
  std::vector<BlockEntry> blocks;
  blocks.reserve(expected);
  for (std::uint32_t runs = bounded_count(in, 10); runs > 0; --runs) {
    const std::uint32_t frame = in.u32(), offset = in.u32(), count = in.u16();
    if (frame != BlockEntry::zero && frame >= frames) damaged("a block is in no frame");
    if (offset > max_frame_size || count > expected - blocks.size()) damaged("a run is too long");
    for (std::uint32_t i = 0; i < count; ++i)
      blocks.push_back({{}, frame, frame == BlockEntry::zero ? 0 : offset + i * block_size});
  }
  if (blocks.size() != expected) damaged("blocks are missing");
  for (BlockEntry& block : blocks)
    if (block.frame != BlockEntry::zero) std::ranges::copy(in.raw(block.hash.size()), block.hash.begin());
  if (in.remaining() != 0) damaged("there is something behind its end");
  return blocks;
}

bool same_place(const RegionMap& a, const BlockEntry& in_a, const RegionMap& b, const BlockEntry& in_b) {
  const bool zero_a = in_a.frame == BlockEntry::zero, zero_b = in_b.frame == BlockEntry::zero;
  if (zero_a || zero_b) return zero_a && zero_b;
  return in_a.hash == in_b.hash && in_a.offset == in_b.offset && a.frames[in_a.frame] == b.frames[in_b.frame];
}

} // namespace

std::uint32_t FrameTable::index(const FrameRef& frame) {
  const auto [place, added] = known_.emplace(frame, std::uint32_t(map_.frames.size()));
  if (added) map_.frames.push_back(frame);
  return place->second;
}

void write_blob_ref(ByteWriter& out, const BlobRef& ref) {
  out.raw(ref.frame.pack);
  out.u32(ref.frame.offset);
  out.u32(ref.frame.length);
  out.u32(ref.offset);
  out.u32(ref.length);
}

BlobRef read_blob_ref(ByteReader& in) {
  BlobRef ref;
  std::ranges::copy(in.raw(ref.frame.pack.size()), ref.frame.pack.begin());
  ref.frame.offset = in.u32();
  ref.frame.length = in.u32();
  ref.offset = in.u32();
  ref.length = in.u32();
  return ref;
}

Bytes encode_region_map(const RegionMap& map) {
  Bytes bytes;
  ByteWriter out(bytes);
  out.u8(form_whole);
  out.u32(std::uint32_t(map.blocks.size()));
  std::vector<const BlockEntry*> blocks;
  for (const BlockEntry& block : map.blocks)
    blocks.push_back(&block);
  write_blocks(out, map, blocks);
  return bytes;
}

std::optional<Bytes> encode_region_difference(const RegionMap& map, const RegionMap& base, const BlobRef& base_ref) {
  struct Range {
    std::uint32_t first = 0, count = 0;
  };
  std::vector<Range> ranges;
  std::vector<const BlockEntry*> blocks;
  for (std::uint32_t i = 0; i < map.blocks.size(); ++i) {
    if (i < base.blocks.size() && same_place(map, map.blocks[i], base, base.blocks[i])) continue;
    if (!ranges.empty() && ranges.back().first + ranges.back().count == i)
      ++ranges.back().count;
    else
      ranges.push_back({i, 1});
    blocks.push_back(&map.blocks[i]);
  }
  if (blocks.size() > map.blocks.size() / largest_difference) return {};
  Bytes bytes;
  ByteWriter out(bytes);
  out.u8(form_difference);
  out.u32(std::uint32_t(map.blocks.size()));
  write_blob_ref(out, base_ref);
  out.u32(std::uint32_t(ranges.size()));
  for (const Range& range : ranges) {
    out.u16(std::uint16_t(range.first));
    out.u16(std::uint16_t(range.count));
  }
  write_blocks(out, map, blocks);
  return bytes;
}

StoredRegionMap decode_region_map(ByteView blob, const std::function<Bytes(const BlobRef&)>& load) {
  ByteReader in(blob);
  const std::uint8_t form = in.u8();
  const std::uint32_t count = in.u32();
  if (count > region_blocks) damaged("it has too many blocks");
  if (form == form_whole) {
    RegionMap map;
    map.frames = read_frames(in);
    map.blocks = read_blocks(in, count, map.frames.size());
    return {std::move(map), {}};
  }
  if (form != form_difference) damaged("it has a form that this version does not know");
  const BlobRef base_ref = read_blob_ref(in);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges(bounded_count(in, 4));
  std::size_t changed = 0;
  for (auto& [first, length] : ranges) {
    first = in.u16();
    length = in.u16();
    if (first + length > count) damaged("a range is beyond its end");
    changed += length;
  }
  if (changed > count) damaged("ranges overlap");
  RegionMap difference;
  difference.frames = read_frames(in);
  difference.blocks = read_blocks(in, changed, difference.frames.size());

  StoredRegionMap base = decode_region_map(
      load(base_ref), [](const BlobRef&) -> Bytes { damaged("a difference refers to a difference"); });
  RegionMap& map = base.map;
  const std::size_t known = std::min<std::size_t>(map.blocks.size(), count);
  std::vector<bool> filled(count);
  std::fill(filled.begin(), filled.begin() + std::ptrdiff_t(known), true);
  map.blocks.resize(count);
  const auto shift = std::uint32_t(map.frames.size());
  map.frames.insert(map.frames.end(), difference.frames.begin(), difference.frames.end());
  auto next = difference.blocks.begin();
  for (const auto& [first, length] : ranges)
    for (std::uint32_t i = first; i < first + length; ++i, ++next) {
      map.blocks[i] = *next;
      if (next->frame != BlockEntry::zero) map.blocks[i].frame += shift;
      filled[i] = true;
    }
  if (std::ranges::find(filled, false) != filled.end()) damaged("blocks are missing");
  base.base = base_ref;
  return base;
}

} // namespace dbops::core
