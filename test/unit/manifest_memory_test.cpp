// Lists of files far larger than memory are to be: they are written and read part by part.
#include "core/backup/base_files.h"
#include "core/backup/file_list_writer.h"
#include "core/backup/manifest_store.h"

#include "core/store/memory_store.h"
#include "fake_time_and_random.h"

#include <gtest/gtest.h>

#include <malloc.h>

namespace dbops::core {
namespace {

// Forgets what is put into it: 10 TB in 10 million files leave only what the writer itself keeps.
class SyntheticStore final : public ObjectStore {
 public:
  explicit SyntheticStore(MemoryStore& parts) : parts_(parts) {}
  PutResult put_if_absent(const std::string& /*key*/, ByteView /*body*/, const CallContext& /*context*/) override {
    ++puts;
    return PutResult::created;
  }
  std::optional<Bytes> get(const std::string& key, const ByteRange& range, const CallContext& context) override {
    return parts_.get(key, range, context);
  }
  std::optional<ObjectInfo> head(const std::string& key, const CallContext& context) override {
    return parts_.head(key, context);
  }
  ListPage list(const ListRequest& request, const CallContext& context) override {
    return parts_.list(request, context);
  }
  void remove(const std::string& /*key*/, const CallContext& /*context*/) override {}
  [[nodiscard]] std::string describe() const override { return "synthetic"; }
  std::uint64_t puts = 0;

 private:
  MemoryStore& parts_;
};

FileEntry entry_of(std::uint32_t number) {
  FileEntry entry;
  const std::string digits = std::to_string(10000000 + number);
  entry.path = "base/16384/" + digits;
  entry.size = 1 << 20;
  entry.regions.push_back({{PackId{std::byte(number >> 16)}, number, 900}, 5, 600});
  return entry;
}

TEST(ManifestMemory, WritingTenMillionFilesTakesTheMemoryOfAFewParts) {
  FakeClock clock;
  SeededRandom random;
  MemoryStore nothing(clock);
  SyntheticStore store(nothing);
  const BackupRepository repository{.store = store,
                                    .clock = clock,
                                    .random = random,
                                    .system_identifier = 1,
                                    .keys = nullptr,
                                    .origin = "t",
                                    .compression_level = 1};
  FileListWriter writer(repository, "20261121T143000Z",
                        {.now = [] { return FileListWriter::Moment{}; },
                         .durable_since = [](const FileListWriter::Moment&) { return true; }});
  const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  std::size_t most = 0;
  constexpr std::uint32_t files = 10000000;
  for (std::uint32_t i = 0; i < files; ++i) {
    writer.add(entry_of(i));
    writer.write_ready({});
    if (i % 100000 == 0) most = std::max(most, mallinfo2().uordblks + mallinfo2().hblkhd - before);
  }
  writer.finish({});
  EXPECT_GT(store.puts, 500U);
  EXPECT_LT(most, std::size_t(64) << 20);
}

TEST(ManifestMemory, ReadingKeepsOnePart) {
  FakeClock clock;
  SeededRandom random;
  MemoryStore store(clock);
  const BackupRepository repository{.store = store,
                                    .clock = clock,
                                    .random = random,
                                    .system_identifier = 1,
                                    .keys = nullptr,
                                    .origin = "t",
                                    .compression_level = 1};
  constexpr std::uint32_t files = 200000;
  std::uint32_t parts = 0;
  {
    FileListWriter writer(repository, "20261121T143000Z",
                          {.now = [] { return FileListWriter::Moment{}; },
                           .durable_since = [](const FileListWriter::Moment&) { return true; }});
    for (std::uint32_t i = 0; i < files; ++i)
      writer.add(entry_of(i));
    writer.finish({});
    parts = writer.parts();
  }
  ASSERT_GT(parts, 10U);
  const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  FileListReader reader(repository, "20261121T143000Z", parts);
  std::uint32_t count = 0;
  std::size_t most = 0;
  while (const auto entry = reader.next({})) {
    ASSERT_EQ(entry->path, entry_of(count).path);
    if (++count % 1000 == 0) most = std::max(most, mallinfo2().uordblks + mallinfo2().hblkhd - before);
  }
  EXPECT_EQ(count, files);
  EXPECT_LT(most, std::size_t(16) << 20);
}

} // namespace
} // namespace dbops::core
