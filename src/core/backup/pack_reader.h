// Frames out of packs, by ranged reads.
#pragma once

#include "core/backup/pack.h"

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>

namespace dbops::core {

// Used by several threads. All arguments must outlive it. In messages a pack is named by its key.
class PackReader {
 public:
  // keys may be null.
  PackReader(ObjectStore& store, std::uint64_t system_identifier, const KeyRing* keys)
      : store_(store), system_identifier_(system_identifier), keys_(keys) {}

  using FrameSink = std::function<void(const FrameRef&, const Bytes& plaintext)>;
  // Hands the plaintext of each frame to `sink`, pack by pack. frames: sorted, of any packs; neighbours are fetched
  // together. Throws Error: not_found (the pack is not there), corrupt, key_missing, key_wrong, what ObjectStore
  // throws.
  void read(std::span<const FrameRef> frames, const FrameSink& sink, const CallContext& context);

  // Bytes fetched from the store so far.
  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return bytes_read_.load(); }

 private:
  std::shared_ptr<const RangedObject> header(const PackId& id, const CallContext& context);
  std::size_t read_neighbours(std::span<const FrameRef> frames, const FrameSink& sink, const CallContext& context);

  ObjectStore& store_;
  std::uint64_t system_identifier_;
  const KeyRing* keys_;
  std::mutex mutex_;
  std::map<PackId, std::shared_ptr<const RangedObject>> headers_; // of packs read lately
  std::atomic<std::uint64_t> bytes_read_{0};
};

// Small pieces of frames, read in about the order in which they were written; keeps the frames around the last ones.
// Used by several threads.
class BlobReader {
 public:
  // reader must outlive it. capacity: frames kept, each of at most max_frame_size.
  BlobReader(PackReader& reader, std::size_t capacity) : reader_(reader), capacity_(capacity) {}
  // Throws as PackReader::read(), and Error(corrupt) when the blob is beyond its frame.
  Bytes read(const BlobRef& blob, const CallContext& context);

 private:
  using Frame = std::shared_ptr<const Bytes>;
  Frame frame(const FrameRef& ref, const CallContext& context);

  PackReader& reader_;
  std::size_t capacity_;
  std::mutex mutex_;
  std::list<FrameRef> order_; // the oldest first
  std::map<FrameRef, Frame> frames_;
};

} // namespace dbops::core
