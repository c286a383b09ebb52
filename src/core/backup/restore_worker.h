// One thread of a restore: puts regions of files in place.
#pragma once

#include "core/backup/block.h"
#include "core/backup/pack_reader.h"
#include "core/backup/region_map.h"
#include "core/backup/restore_run.h"
#include "core/base/file.h"

#include <filesystem>
#include <string>
#include <vector>

namespace dbops::core {

struct RestoreTask {
  std::string path;           // in the manifest
  std::filesystem::path file; // exists, with its final size
  std::uint64_t offset = 0, length = 0;
  BlobRef map;
  bool compare = false; // what is in the file may be right already
};

class RestoreWorker {
 public:
  // All arguments must outlive it.
  RestoreWorker(PackReader& packs, BlobReader& maps, RestoreProgress& progress)
      : packs_(packs), maps_(maps), progress_(progress) {}

  // Regions whose blocks lie close together in packs are best restored together.
  void process(const std::vector<RestoreTask>& tasks, const CallContext& context);

 private:
  struct Region;
  struct Wanted; // a block and the frame that it is in
  void open_region(Region& region, const RestoreTask& task, const CallContext& context);
  ByteView block_there(const Region& region, std::uint32_t number);
  void find_wanted(const std::vector<Region>& regions, std::size_t number, std::vector<Wanted>& wanted);
  void write_frame(const std::vector<Region>& regions, std::span<const Wanted> blocks, ByteView frame);

  PackReader& packs_;
  BlobReader& maps_;
  RestoreProgress& progress_;
  BlockHasher hasher_;
  Bytes buffer_;
};

} // namespace dbops::core
