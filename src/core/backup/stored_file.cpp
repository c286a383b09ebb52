#include "core/backup/stored_file.h"

#include "core/backup/region_map.h"
#include "core/base/error.h"

#include <algorithm>
#include <map>

namespace dbops::core {

namespace {

void read_region(const RegionMap& map, Bytes& region, PackReader& packs, const CallContext& context) {
  std::map<FrameRef, std::vector<std::uint32_t>> wanted;
  for (std::uint32_t i = 0; i < map.blocks.size(); ++i)
    if (map.blocks[i].frame != BlockEntry::zero) wanted[map.frame_of(map.blocks[i])].push_back(i);
  BlockHasher hasher;
  for (const auto& [frame, blocks] : wanted)
    try {
      packs.read(
          {&frame, 1},
          [&, &blocks = blocks](const FrameRef&, const Bytes& plaintext) {
            for (const std::uint32_t number : blocks) {
              const std::size_t at = std::size_t(number) * block_size;
              if (at >= region.size()) continue;
              const auto to = std::span(region).subspan(at, std::min<std::size_t>(block_size, region.size() - at));
              const std::size_t from = map.blocks[number].offset;
              if (to.size() > plaintext.size() || from > plaintext.size() - to.size()) continue;
              const ByteView block = ByteView(plaintext).subspan(from, to.size());
              if (hasher.hash(block) == map.blocks[number].hash) std::ranges::copy(block, to.begin());
            }
          },
          context);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found) throw;
    }
}

} // namespace

std::optional<FileEntry> find_stored_file(const BackupRepository& repository, const BackupHead& head,
                                          const std::string& path, const CallContext& context) {
  FileListReader files(repository, head.label, head.file_parts);
  while (auto entry = files.next(context)) {
    if (entry->path == path) return entry;
    if (path_less(path, entry->path)) break;
  }
  return {};
}

void read_stored_file(const FileEntry& file, PackReader& packs, BlobReader& maps,
                      const std::function<void(ByteView)>& sink, const CallContext& context) {
  for (std::size_t i = 0; i < file.regions.size(); ++i) {
    const auto load = [&](const BlobRef& blob) { return maps.read(blob, context); };
    const RegionMap map = decode_region_map(load(file.regions[i]), load).map;
    Bytes region(std::size_t(std::min(region_size, file.size - i * region_size)));
    read_region(map, region, packs, context);
    sink(region);
  }
}

} // namespace dbops::core
