#include "core/backup/backup_worker.h"

#include "core/backup/catalogue.h"
#include "core/backup/page_checksum.h"
#include "core/base/error.h"

#include <algorithm>
#include <fcntl.h>

namespace dbops::core {

namespace {

constexpr std::size_t read_size = 256 << 10;
// A page whose checksum is wrong is read again: it may have been read while it was being written.
constexpr int page_reads = 5;
constexpr auto page_pause = milliseconds(20);
// One that was changed since the backup began may stay half written for as long as its writer gets no processor. Its
// first half, which is written first, has the LSN; one that is further ahead than any server gets is none.
constexpr int busy_page_reads = 1500;
constexpr Lsn largest_advance = Lsn(1) << 44;

int reads_of(ByteView page, Lsn backup_start) {
  const Lsn changed = page_lsn(page);
  return changed >= backup_start && changed - backup_start < largest_advance ? busy_page_reads : page_reads;
}

} // namespace

struct BackupWorker::Region {
  RegionTask task;
  RegionResult result;
  RegionMap map;
  std::unique_ptr<FrameTable> frames;
  std::vector<PendingBlock> pending;
  std::optional<StoredRegionMap> base;
  std::vector<std::uint32_t> base_frames; // their index in `map`, or BlockEntry::zero for not yet known
  bool changed = false;                   // against base
  bool check_pages = false;
  std::uint32_t first_page = 0; // of the region, in its fork
};

BackupWorker::BackupWorker(BackupShared& shared, PackWriter& packs, ResultSink done)
    : shared_(shared), packs_(packs), done_(std::move(done)), buffer_(read_size) {}

BackupWorker::~BackupWorker() = default;

void BackupWorker::load_base(Region& region, const CallContext& context) {
  if (!region.task.base) return;
  const auto load = [&](const BlobRef& ref) {
    if (std::ranges::binary_search(shared_.condemned, ref.frame.pack))
      throw Error(ErrorKind::corrupt, "the map is in a pack that is not to be used");
    return shared_.maps.read(ref, context);
  };
  try {
    region.base = decode_region_map(load(*region.task.base), load);
    region.base_frames.assign(region.base->map.frames.size(), BlockEntry::zero);
  } catch (const Error& error) {
    // Its blocks could not be restored, unless they are stored again: without a word, that would hide that those before
    // cannot.
    if (is_key_problem(error.kind()))
      throw Error(error.kind(),
                  std::string("the keys that are given do not open what an earlier backup has stored, and this one "
                              "would refer to: ") +
                      error.what(),
                  error.hint() +
                      " If the key was given up on purpose, take a full backup, which refers to no other (--full).");
    // Damage in the store costs a new copy of the region, not the backup.
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found) throw;
    if (shared_.log) shared_.log({LogLevel::warning, "\"" + region.task.path + "\" is stored again: " + error.what()});
    region.base.reset();
    region.task.base.reset();
  }
}

bool BackupWorker::keep_base_block(Region& region, std::uint32_t number, const BlockHash& hash) {
  if (!region.base || number >= region.base->map.blocks.size()) return false;
  const BlockEntry& old = region.base->map.blocks[number];
  if (old.frame == BlockEntry::zero || old.hash != hash) return false;
  const FrameRef& frame = region.base->map.frames[old.frame];
  if (std::ranges::binary_search(shared_.condemned, frame.pack)) return false;
  std::uint32_t& index = region.base_frames[old.frame];
  if (index == BlockEntry::zero) index = region.frames->index(frame);
  region.map.blocks[number] = {hash, index, old.offset};
  // As corrupt as it was.
  const std::uint32_t in_file = std::uint32_t(region.task.offset / block_size) + number;
  if (std::ranges::binary_search(region.task.base_damaged, in_file)) region.result.damaged.push_back(in_file);
  return true;
}

// True: the page is another one now.
bool BackupWorker::verify_page(Region& region, const File& file, std::uint32_t number, std::span<std::byte> page,
                               const CallContext& context) {
  const std::uint32_t block = region.first_page + number;
  Bytes again;
  bool changed = false;
  for (int reads = 1; check_page(page, block) == PageState::mismatch; ++reads) {
    if (reads >= reads_of(page, shared_.start_lsn)) { // the same bytes all the time
      region.result.damaged.push_back(std::uint32_t(region.task.offset / block_size) + number);
      return changed;
    }
    again.resize(page.size());
    SystemClock().sleep_for(page_pause, context.stop);
    const std::size_t count = file.read_at(region.task.offset + std::uint64_t(number) * block_size, again);
    if (count < again.size()) return changed; // truncated meanwhile: replay does that again
    const bool busy = !std::ranges::equal(again, page);
    std::ranges::copy(again, page.begin());
    changed = changed || busy;
    // It changes under our eyes, so its writer has logged it since the backup began, and replay writes it as a whole.
    if (busy && check_page(page, block) == PageState::mismatch) reads = 1;
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the backup was cancelled");
  }
  return changed;
}

void BackupWorker::store_block(Region& region, std::uint32_t number, const BlockHash& hash, ByteView block,
                               const CallContext& context) {
  if (const auto known = shared_.index.find(hash)) {
    region.map.blocks[number] = {hash, region.frames->index(known->frame), known->offset};
    return;
  }
  if (frame_.size() + block.size() > frame_target) close_block_frame(context);
  region.pending.push_back({number, std::uint32_t(frame_.size()), frame_number_, hash});
  append(frame_, block);
  ++region.result.new_blocks;
}

void BackupWorker::take_block(Region& region, const File& file, std::uint32_t number, std::span<std::byte> block,
                              const CallContext& context) {
  if (is_all_zero(block) && block.size() == block_size) {
    if (!region.base || number >= region.base->map.blocks.size() ||
        region.base->map.blocks[number].frame != BlockEntry::zero)
      region.changed = true;
    return;
  }
  BlockHash hash = hasher_.hash(block);
  if (keep_base_block(region, number, hash)) return;
  region.changed = true;
  if (region.check_pages && block.size() == block_size && verify_page(region, file, number, block, context))
    hash = hasher_.hash(block);
  store_block(region, number, hash, block, context);
}

void BackupWorker::read_blocks(Region& region, const File& file, const CallContext& context) {
  const RegionTask& task = region.task;
  std::uint64_t done = 0;
  while (done < task.length) {
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the backup was cancelled");
    const auto wanted = std::size_t(std::min<std::uint64_t>(buffer_.size(), task.length - done));
    const std::size_t count = file.read_at(task.offset + done, std::span(buffer_).first(wanted));
    for (std::size_t at = 0; at < count; at += block_size) {
      const auto number = std::uint32_t((done + at) / block_size);
      region.map.blocks.emplace_back();
      take_block(region, file, number, std::span(buffer_).subspan(at, std::min<std::size_t>(block_size, count - at)),
                 context);
    }
    done += count;
    if (shared_.was_read) shared_.was_read(count);
    if (count < wanted) break; // it became shorter
  }
  region.result.length = done;
}

void BackupWorker::process(RegionTask task, const CallContext& context) {
  auto region = std::make_unique<Region>();
  region->result.ticket = task.ticket;
  region->task = std::move(task);
  region->frames = std::make_unique<FrameTable>(region->map);
  const auto file = File::open_if_exists(region->task.file, O_RDONLY);
  if (!file) {
    region->result.vanished = true;
    done_(std::move(region->result));
    return;
  }
  if (const auto relation = parse_relation_file(region->task.path); relation && shared_.page_checksums) {
    region->check_pages = true;
    region->first_page = relation->segment * relation_segment_pages + std::uint32_t(region->task.offset / block_size);
  }
  load_base(*region, context);
  read_blocks(*region, *file, context);
  if (region->base && region->base->map.blocks.size() != region->map.blocks.size()) region->changed = true;
  if (region->pending.empty())
    settle(*region, context);
  else
    waiting_.push_back(std::move(region));
}

void BackupWorker::close_block_frame(const CallContext& context) {
  if (frame_.empty()) return;
  closed_[frame_number_] = packs_.add(frame_, context);
  frame_.clear();
  ++frame_number_;
  while (!waiting_.empty() &&
         (waiting_.front()->pending.empty() || waiting_.front()->pending.back().frame < frame_number_)) {
    settle(*waiting_.front(), context);
    waiting_.pop_front();
  }
  // Those that are still open may refer to frames from the first of theirs on; so may the one that is being read,
  // which is not in the queue yet: it settles its blocks itself, from a copy that is kept until the queue is empty.
  const std::uint64_t first =
      waiting_.empty() || waiting_.front()->pending.empty() ? 0 : waiting_.front()->pending.front().frame;
  closed_.erase(closed_.begin(), closed_.lower_bound(first));
}

void BackupWorker::settle(Region& region, const CallContext& context) {
  for (const PendingBlock& block : region.pending) {
    const FrameRef& frame = closed_.at(block.frame);
    region.map.blocks[block.block] = {block.hash, region.frames->index(frame), block.offset};
    shared_.index.add(block.hash, {frame, block.offset});
  }
  note_packs(region.map);
  if (region.result.length == 0) {
    done_(std::move(region.result));
    return;
  }
  if (region.base && !region.changed) {
    region.result.map = region.task.base;
    packs_used_.insert(region.task.base->frame.pack);
    if (region.base->base) packs_used_.insert(region.base->base->frame.pack);
    done_(std::move(region.result));
    return;
  }
  if (region.base) {
    const BlobRef whole_ref = region.base->base.value_or(*region.task.base);
    StoredRegionMap loaded;
    if (region.base->base)
      loaded = decode_region_map(shared_.maps.read(whole_ref, context), [](const BlobRef&) -> Bytes {
        throw Error(ErrorKind::corrupt, "a difference refers to a difference");
      });
    const RegionMap& whole = region.base->base ? loaded.map : region.base->map;
    if (const auto difference = encode_region_difference(region.map, whole, whole_ref)) {
      packs_used_.insert(whole_ref.frame.pack);
      add_map(std::move(region.result), *difference, context);
      return;
    }
  }
  add_map(std::move(region.result), encode_region_map(region.map), context);
}

void BackupWorker::add_map(RegionResult result, ByteView blob, const CallContext& context) {
  if (!map_frame_.empty() && map_frame_.size() + blob.size() > frame_target) close_map_frame(context);
  maps_.push_back({std::move(result), std::uint32_t(map_frame_.size()), std::uint32_t(blob.size())});
  append(map_frame_, blob);
}

void BackupWorker::close_map_frame(const CallContext& context) {
  if (map_frame_.empty()) return;
  const FrameRef frame = packs_.add(map_frame_, context);
  packs_used_.insert(frame.pack);
  map_frame_.clear();
  for (PendingMap& map : maps_) {
    map.result.map = BlobRef{frame, map.offset, map.length};
    done_(std::move(map.result));
  }
  maps_.clear();
}

void BackupWorker::finish_frames(const CallContext& context) {
  close_block_frame(context);
  while (!waiting_.empty()) {
    settle(*waiting_.front(), context);
    waiting_.pop_front();
  }
  closed_.clear();
  close_map_frame(context);
}

void BackupWorker::note_packs(const RegionMap& map) {
  const PackId* last = nullptr;
  for (const FrameRef& frame : map.frames) {
    if (last != nullptr && *last == frame.pack) continue;
    packs_used_.insert(frame.pack);
    last = &frame.pack;
  }
}

} // namespace dbops::core
