// A file of pg_wal that PostgreSQL recycles while it is on its way to a store.
#include "core/wal/wal_writer.h"

#include "core/store/memory_store.h"
#include "core/wal/wal_file.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace dbops::core {
namespace {

const SegmentSize size(4 << 20); // more than is read at once

// Calls back when the first bytes of an upload arrive: the rest of the file is not read yet then.
class InterruptedStore final : public ObjectStore {
 public:
  explicit InterruptedStore(const Clock& clock) : store_(clock) {}
  std::function<void()> at_first_bytes;

  PutResult put_if_absent(const std::string& key, ByteView body, const CallContext& context) override {
    return store_.put_if_absent(key, body, context);
  }
  std::unique_ptr<ObjectUpload> begin_upload(const std::string& key, std::size_t head_size,
                                             const CallContext& context) override {
    return std::make_unique<Upload>(*this, store_.begin_upload(key, head_size, context));
  }
  std::optional<Bytes> get(const std::string& key, const ByteRange& range, const CallContext& context) override {
    return store_.get(key, range, context);
  }
  std::optional<ObjectInfo> head(const std::string& key, const CallContext& context) override {
    return store_.head(key, context);
  }
  ListPage list(const ListRequest& request, const CallContext& context) override {
    return store_.list(request, context);
  }
  void make_durable(const std::string& key, const CallContext& /*context*/) override { made_durable.push_back(key); }
  std::vector<std::string> made_durable;
  void remove(const std::string& key, const CallContext& context) override { store_.remove(key, context); }
  [[nodiscard]] std::string describe() const override { return store_.describe(); }

 private:
  class Upload final : public ObjectUpload {
   public:
    Upload(InterruptedStore& store, std::unique_ptr<ObjectUpload> upload) : store_(store), upload_(std::move(upload)) {}
    void write(ByteView bytes) override {
      if (store_.at_first_bytes) std::exchange(store_.at_first_bytes, {})();
      upload_->write(bytes);
    }
    PutResult finish(ByteView head) override { return upload_->finish(head); }

   private:
    InterruptedStore& store_;
    std::unique_ptr<ObjectUpload> upload_;
  };

  MemoryStore store_;
};

class WalWriterTest : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path path(SegmentNumber number) const {
    return wal_.path() / segment_name({1, number}, size);
  }
  // As InstallXLogFileSegment() and then XLogWrite() do it: the file gets another name, and then other content.
  void recycle(SegmentNumber from, SegmentNumber to) {
    std::filesystem::rename(path(from), path(to));
    File file = File::open(path(to), O_WRONLY);
    file.write_at(0, make_segment({1, to}, size));
  }

  FakeClock clock_;
  SeededRandom random_;
  TemporaryDirectory wal_;
  InterruptedStore store_{clock_};
  WalWriter writer_{
      store_,
      clock_,
      random_,
      {.system_identifier = test_system_identifier, .origin = "host=a", .encoding = {.compression_level = 1}}};
};

TEST_F(WalWriterTest, AFileThatIsRecycledWhileItIsReadIsNotStored) {
  const WalFileName name = *parse_wal_file_name(segment_name({1, 3}, size));
  write_file(path(3), make_segment({1, 3}, size));
  bool recycled = false;
  store_.at_first_bytes = [&] {
    recycle(3, 9);
    recycled = true;
  };
  EXPECT_THROW(writer_.put_file(name, path(3), {}), WalFileGone);
  EXPECT_TRUE(recycled);
  EXPECT_FALSE(store_.head(cluster_prefix(test_system_identifier) + wal_file_key(name), {}));
}

TEST_F(WalWriterTest, AFileThatIsRecycledWhileItIsComparedIsNoOtherContent) {
  const WalFileName name = *parse_wal_file_name(segment_name({1, 3}, size));
  write_file(path(3), make_segment({1, 3}, size));
  ASSERT_EQ(writer_.put_file(name, path(3), {}).result, PutResult::created);
  store_.at_first_bytes = [&] { recycle(3, 9); };
  EXPECT_THROW(writer_.put_file(name, path(3), {}), WalFileGone);
}

TEST_F(WalWriterTest, WhatIsThereIsMadeDurableBeforeItIsAcknowledged) {
  const WalFileName name = *parse_wal_file_name(segment_name({1, 3}, size));
  write_file(path(3), make_segment({1, 3}, size));
  EXPECT_FALSE(writer_.is_stored(name, path(3), {}));
  writer_.put_file(name, path(3), {});
  EXPECT_TRUE(store_.made_durable.empty());
  EXPECT_TRUE(writer_.is_stored(name, path(3), {}));
  EXPECT_EQ(store_.made_durable, std::vector<std::string>{cluster_prefix(test_system_identifier) + wal_file_key(name)});
}

} // namespace
} // namespace dbops::core
