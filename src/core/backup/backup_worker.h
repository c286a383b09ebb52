// One thread of a backup: reads regions of files, finds what has changed, and stores that.
#pragma once

#include "core/backup/block_index.h"
#include "core/backup/file_rules.h"
#include "core/backup/manifest.h"
#include "core/backup/pack_reader.h"
#include "core/backup/region_map.h"
#include "core/base/file.h"
#include "core/base/log.h"

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>

namespace dbops::core {

// A region that is to be read.
struct RegionTask {
  std::string path; // in the manifest
  std::filesystem::path file;
  std::uint64_t offset = 0, length = 0;    // in the file; less is read when it has become shorter
  std::optional<BlobRef> base;             // map of the same region in an earlier backup
  std::vector<std::uint32_t> base_damaged; // blocks of the file, ascending, that were corrupt then
  std::uint64_t ticket = 0;                // the caller's
};

struct RegionResult {
  std::uint64_t ticket = 0;
  bool vanished = false;              // the file is not there any more
  std::uint64_t length = 0;           // bytes that were there
  std::optional<BlobRef> map;         // absent when length is 0
  std::uint64_t new_blocks = 0;       // that no earlier backup had
  std::vector<std::uint32_t> damaged; // blocks whose checksum is wrong, numbers within the file
};

// What the threads of a backup share.
struct BackupShared {
  ObjectStore& store;
  const Clock& clock;
  BlobReader& maps; // of earlier backups
  BlockIndex& index;
  bool page_checksums = false;
  Lsn start_lsn = 0; // what was changed since the backup began has a later one
  // Packs whose blocks are to be stored again: damaged, or about to be removed. Sorted.
  std::vector<PackId> condemned = {};
  std::function<void(std::uint64_t bytes)> was_read = {}; // called as reading goes on; may wait; may be empty
  LogSink log = {};                                       // may be empty
};

// A worker keeps blocks until they fill a frame, and maps likewise: a result may come with a later call.
class BackupWorker {
 public:
  using ResultSink = std::function<void(RegionResult)>;

  // All arguments must outlive it.
  BackupWorker(BackupShared& shared, PackWriter& packs, ResultSink done);
  ~BackupWorker();
  BackupWorker(const BackupWorker&) = delete;
  BackupWorker& operator=(const BackupWorker&) = delete;

  void process(RegionTask task, const CallContext& context);
  // Closes what is open, so that all results are given. The last pack is not yet durable then.
  void finish_frames(const CallContext& context);

  // All packs that the results refer to.
  [[nodiscard]] const std::set<PackId>& packs_used() const noexcept { return packs_used_; }

 private:
  struct Region;
  struct PendingBlock {
    std::uint32_t block = 0, offset = 0;
    std::uint64_t frame = 0;
    BlockHash hash{};
  };
  struct PendingMap {
    RegionResult result;
    std::uint32_t offset = 0, length = 0;
  };

  void load_base(Region& region, const CallContext& context);
  void read_blocks(Region& region, const File& file, const CallContext& context);
  void take_block(Region& region, const File& file, std::uint32_t number, std::span<std::byte> block,
                  const CallContext& context);
  bool keep_base_block(Region& region, std::uint32_t number, const BlockHash& hash);
  bool verify_page(Region& region, const File& file, std::uint32_t number, std::span<std::byte> page,
                   const CallContext& context);
  void store_block(Region& region, std::uint32_t number, const BlockHash& hash, ByteView block,
                   const CallContext& context);
  void close_block_frame(const CallContext& context);
  void settle(Region& region, const CallContext& context);
  void add_map(RegionResult result, ByteView blob, const CallContext& context);
  void close_map_frame(const CallContext& context);
  void note_packs(const RegionMap& map);

  BackupShared& shared_;
  PackWriter& packs_;
  ResultSink done_;
  BlockHasher hasher_;
  Bytes buffer_;
  Bytes frame_;                                 // blocks that are being collected
  std::uint64_t frame_number_ = 0;              // of that frame
  std::deque<std::unique_ptr<Region>> waiting_; // for their blocks' frames, in the order of their last one
  std::map<std::uint64_t, FrameRef> closed_;    // frames that regions in waiting_ refer to
  Bytes map_frame_;                             // maps that are being collected
  std::vector<PendingMap> maps_;                // what is in it
  std::set<PackId> packs_used_;
};

} // namespace dbops::core
