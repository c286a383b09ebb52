// Packs: objects of blocks, which are kept as long as any backup refers to them. Specified in docs/format.md.
#pragma once

#include "core/backup/block.h"
#include "core/codec/zstd_frame.h"
#include "core/store/object_store.h"
#include "core/wal/ranged_object.h"

#include <atomic>
#include <compare>
#include <optional>
#include <string>

namespace dbops::core {

using PackId = std::array<std::byte, 16>; // random: a name is never used twice

// "pack/3f/3f09...": below cluster_prefix().
std::string pack_key(const PackId& id);
// Absent: not the key of a pack.
std::optional<PackId> parse_pack_key(std::string_view key);

// Several blocks that were compressed together: bytes of a pack's plaintext.
struct FrameRef {
  PackId pack{};
  std::uint32_t offset = 0, length = 0;
  friend auto operator<=>(const FrameRef&, const FrameRef&) = default; // NOLINT: clang-tidy 14 sees a 0
};

// Bytes within the plaintext of a frame.
struct BlobRef {
  FrameRef frame;
  std::uint32_t offset = 0, length = 0;
  friend auto operator<=>(const BlobRef&, const BlobRef&) = default; // NOLINT: clang-tidy 14 sees a 0
};

// Of a frame's plaintext. What is read is refused beyond it.
constexpr std::size_t max_frame_size = 1 << 20;
// Blocks are collected up to this size: more compresses better, less is quicker to get a single block out of.
constexpr std::size_t frame_target = 256 << 10;
// A pack is closed when it holds that much.
constexpr std::size_t pack_target = 16 << 20;
// Larger ones are refused.
constexpr std::uint64_t max_pack_size = 64 << 20;
// Plaintext bytes of an encrypted record of a pack.
constexpr std::uint32_t pack_record_size = 64 << 10;

// What a store holds of a pack: for lists of packs.
struct PackInfo {
  PackId id{};
  std::uint64_t size = 0;                                              // of the object, bytes
  friend auto operator<=>(const PackInfo&, const PackInfo&) = default; // NOLINT: clang-tidy 14 sees a 0
};

struct PackOptions {
  std::uint64_t system_identifier = 0;
  std::string origin;
  int compression_level = 3;
  const KeyRing* keys = nullptr; // null: not encrypted
};

// Fills packs and puts them into the store, one after another. For one thread. All arguments must outlive it.
class PackWriter {
 public:
  using StoredSink = std::function<void(const PackInfo&)>;

  // stored: told of each pack once it is durable.
  PackWriter(ObjectStore& store, const Clock& clock, Random& random, PackOptions options, StoredSink stored);

  // Compresses and adds a frame; the pack that it is in becomes durable with a later call. plaintext: at most
  // max_frame_size.
  FrameRef add(ByteView plaintext, const CallContext& context);
  // Makes the open pack durable, if it holds anything.
  void flush(const CallContext& context);

  // Packs are counted from 1: the last one that holds anything, and the last one that is durable. For other threads.
  [[nodiscard]] std::uint64_t filled() const noexcept { return filled_.load(); }
  [[nodiscard]] std::uint64_t durable() const noexcept { return durable_.load(); }

 private:
  void begin_pack();

  ObjectStore& store_;
  const Clock& clock_;
  Random& random_;
  PackOptions options_;
  StoredSink stored_;
  ZstdFrameEncoder zstd_;
  ObjectEncoder encoder_;
  PackId id_{};
  Bytes content_;
  std::atomic<std::uint64_t> filled_{0}, durable_{0};
};

// The plaintext of a frame as it is in a pack. decoder: of the calling thread. Throws Error(corrupt).
Bytes decode_frame(ByteView frame, ZstdFrameDecoder& decoder);

} // namespace dbops::core
