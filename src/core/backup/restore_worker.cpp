#include "core/backup/restore_worker.h"

#include "core/backup/file_rules.h"
#include "core/base/error.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <unistd.h>

namespace dbops::core {

namespace {

void write_at(const File& file, const std::filesystem::path& path, std::uint64_t offset, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file.descriptor(), bytes.data(), bytes.size(), off_t(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error(errno, "could not write file \"" + path.string() + "\"");
    bytes = bytes.subspan(std::size_t(count));
    offset += std::uint64_t(count);
  }
}

// So that the disk works while the rest is fetched, and there is little left for the fsync of all at the end.
void begin_write_back(const File& file, const RestoreTask& task) {
  constexpr std::uint64_t worth_it = 1 << 20;
  if (task.length >= worth_it) file.begin_write_back(task.offset, task.length);
}

} // namespace

struct RestoreWorker::Region {
  const RestoreTask* task = nullptr;
  std::optional<File> file;
  RegionMap map;

  [[nodiscard]] std::size_t block_length(std::uint32_t number) const {
    return std::size_t(std::min<std::uint64_t>(block_size, task->length - std::uint64_t(number) * block_size));
  }
  [[nodiscard]] std::uint64_t block_offset(std::uint32_t number) const {
    return task->offset + std::uint64_t(number) * block_size;
  }
};

struct RestoreWorker::Wanted {
  FrameRef frame;
  std::uint32_t offset = 0;
  std::uint32_t region = 0, block = 0;
  friend auto operator<=>(const Wanted&, const Wanted&) = default; // NOLINT: clang-tidy 14 sees a 0
};

void RestoreWorker::open_region(Region& region, const RestoreTask& task, const CallContext& context) {
  region.task = &task;
  region.file = File::open(task.file, O_RDWR);
  try {
    region.map = decode_region_map(maps_.read(task.map, context), [&](const BlobRef& base) {
                   return maps_.read(base, context);
                 }).map;
    if (region.map.blocks.size() != (task.length + block_size - 1) / block_size)
      throw Error(ErrorKind::corrupt, "its block map is of another size");
  } catch (const Error& error) {
    throw Error(error.kind(), "\"" + task.path + "\": " + error.what(), error.hint());
  }
}

// What is there of a block; shorter than the block where the file ends. Blocks are asked for in order.
ByteView RestoreWorker::block_there(const Region& region, std::uint32_t number) {
  constexpr std::uint32_t blocks_read = 32; // at a time
  const std::uint32_t first = number - number % blocks_read;
  if (number == first) {
    const std::uint64_t begin = std::uint64_t(first) * block_size;
    buffer_.resize(
        std::size_t(std::min<std::uint64_t>(std::uint64_t(blocks_read) * block_size, region.task->length - begin)));
    buffer_.resize(region.file->read_at(region.block_offset(first), buffer_));
  }
  const std::size_t at = std::min(std::size_t(number - first) * block_size, buffer_.size());
  return ByteView(buffer_).subspan(at, std::min(buffer_.size() - at, region.block_length(number)));
}

// Zero blocks are put in place at once; for the others it is noted what to fetch.
void RestoreWorker::find_wanted(const std::vector<Region>& regions, std::size_t number, std::vector<Wanted>& wanted) {
  const Region& region = regions[number];
  if (region.task->compare)
    ::posix_fadvise(region.file->descriptor(), off_t(region.task->offset), off_t(region.task->length),
                    POSIX_FADV_SEQUENTIAL);
  for (std::uint32_t i = 0; i < region.map.blocks.size(); ++i) {
    const BlockEntry& block = region.map.blocks[i];
    const std::size_t length = region.block_length(i);
    const bool zero = block.frame == BlockEntry::zero;
    bool right = zero && !region.task->compare; // a new file is a hole
    if (region.task->compare) {
      const ByteView there = block_there(region, i);
      right = there.size() == length && (zero ? is_all_zero(there) : hasher_.hash(there) == block.hash);
      if (right) progress_.bytes_kept += length;
      if (zero && !right) {
        static const Bytes zeros(block_size);
        write_at(*region.file, region.task->file, region.block_offset(i), ByteView(zeros).first(length));
      }
    }
    if (zero || right)
      progress_.bytes += length;
    else
      wanted.push_back({region.map.frames[block.frame], block.offset, std::uint32_t(number), i});
  }
}

void RestoreWorker::write_frame(const std::vector<Region>& regions, std::span<const Wanted> blocks, ByteView frame) {
  while (!blocks.empty()) {
    // Blocks one after another in the frame and in the file are written together.
    const Region& region = regions[blocks[0].region];
    std::size_t count = 0, length = 0;
    const auto follows = [&](const Wanted& next) {
      return next.region == blocks[0].region && next.block == blocks[0].block + count &&
             next.offset == blocks[0].offset + length;
    };
    while (count < blocks.size() && follows(blocks[count])) {
      const Wanted& block = blocks[count];
      const std::size_t size = region.block_length(block.block);
      if (size > frame.size() || block.offset > frame.size() - size ||
          hasher_.hash(frame.subspan(block.offset, size)) != region.map.blocks[block.block].hash)
        throw Error(ErrorKind::corrupt, "\"" + region.task->path + "\", block " +
                                            std::to_string(region.block_offset(block.block) / block_size) + ": \"" +
                                            pack_key(block.frame.pack) + "\" holds other content");
      length += size;
      ++count;
    }
    write_at(*region.file, region.task->file, region.block_offset(blocks[0].block),
             frame.subspan(blocks[0].offset, length));
    progress_.bytes += length;
    blocks = blocks.subspan(count);
  }
}

void RestoreWorker::process(const std::vector<RestoreTask>& tasks, const CallContext& context) {
  std::vector<Region> regions(tasks.size());
  std::vector<Wanted> wanted;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the restore was cancelled");
    open_region(regions[i], tasks[i], context);
    find_wanted(regions, i, wanted);
  }
  std::ranges::sort(wanted);
  std::vector<FrameRef> frames;
  for (const Wanted& block : wanted)
    if (frames.empty() || frames.back() != block.frame) frames.push_back(block.frame);
  std::span<const Wanted> rest = wanted;
  packs_.read(
      frames,
      [&](const FrameRef& frame, const Bytes& plaintext) {
        const auto end = std::ranges::find_if(rest, [&](const Wanted& block) { return block.frame != frame; });
        const auto count = std::size_t(end - rest.begin());
        write_frame(regions, rest.first(count), plaintext);
        rest = rest.subspan(count);
      },
      context);
  for (const Region& region : regions)
    begin_write_back(*region.file, *region.task);
}

} // namespace dbops::core
