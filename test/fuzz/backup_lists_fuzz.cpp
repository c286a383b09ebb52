// Lists of packs, pins and the checkpoints of verifications, as they come out of a store that others can write to.
#include "core/backup/manifest_store.h"
#include "core/backup/pins.h"
#include "core/backup/verify_checkpoint.h"
#include "core/base/error.h"
#include "core/store/memory_store.h"

using namespace dbops::core;

namespace {

class FixedClock final : public Clock {
 public:
  [[nodiscard]] WallTime wall_now() const override { return WallTime(std::chrono::seconds(1795255200)); }
  [[nodiscard]] SteadyTime steady_now() const override { return {}; }
  void sleep_for(std::chrono::steady_clock::duration /*time*/, const std::stop_token& /*stop*/) override {}
};

class FixedRandom final : public Random {
 public:
  void fill(std::span<std::byte> buffer) override { std::ranges::fill(buffer, std::byte(7)); }
};

template <class Read>
void survives(const Read& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

constexpr const char* label = "20261121T100000Z";

// Both as an object that is whole around these bytes, and as one that is nothing but them.
void put(const BackupRepository& repository, const std::string& name, ObjectKind kind, ByteView bytes, bool bare) {
  if (bare)
    repository.store.put_if_absent(repository.key(name), bytes, {});
  else
    repository.put(name, kind, bytes, {});
}

void read_packs(const BackupRepository& repository) {
  BackupHead head;
  head.label = label;
  head.pack_parts = 1;
  std::vector<Digest> digests;
  const std::vector<PackInfo> packs = read_pack_list(repository, head, digests, {});
  for (std::size_t i = 1; i < packs.size(); ++i)
    if (packs[i].id <= packs[i - 1].id) __builtin_trap();
}

void read_all(ByteView bytes, bool bare) {
  const FixedClock clock;
  FixedRandom random;
  MemoryStore store(clock);
  const BackupRepository repository{.store = store,
                                    .clock = clock,
                                    .random = random,
                                    .system_identifier = 7300000000000000001,
                                    .origin = "fuzz",
                                    .compression_level = 1};
  put(repository, backup_packs_key(label, 0), ObjectKind::backup_packs, bytes, bare);
  put(repository, std::string("pin/backup/") + label + "/20261121T100000Z-00.json", ObjectKind::backup_event, bytes,
      bare);
  put(repository, "verifying/all/20261121T100000Z-00/20261121T100000Z-01", ObjectKind::backup_event, bytes, bare);
  survives([&] { read_packs(repository); });
  survives([&] {
    // What cannot be read holds.
    const Pins pins = read_pins(repository, Pinnable::backup, {});
    if (pins.size() != 1 || pins.begin()->first != label || pins.begin()->second.size() != 1) __builtin_trap();
    held_by(pins, label, clock.wall_now());
  });
  survives([&] {
    const VerifyCheckpoint checkpoint(repository, "all", false, {}, {});
    if (checkpoint.resumed() > bytes.size() / 16 || (!bare && checkpoint.resumed() != bytes.size() / 16))
      __builtin_trap();
  });
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes = std::as_bytes(std::span(data, size));
  read_all(bytes, false);
  read_all(bytes, true);
  return 0;
}
