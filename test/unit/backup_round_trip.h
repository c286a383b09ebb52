// Directories that look like a server's into a store in memory and back.
#pragma once

#include "core/backup/backup_run.h"
#include "core/backup/catalogue_cache.h"
#include "core/backup/expire.h"
#include "core/backup/known_damage.h"
#include "core/backup/restore_claim.h"
#include "core/backup/restore_run.h"
#include "core/backup/verify.h"

#include "core/backup/control_file.h"
#include "core/backup/damaged_packs.h"
#include "core/backup/page_checksum.h"
#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "core/wal/layout.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>

namespace dbops::core {

namespace fs = std::filesystem;

inline constexpr const char* keys_text = "k1 = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

// Pages as PostgreSQL has them, with random content.
inline Bytes pages(std::uint32_t count, unsigned seed, std::uint32_t first = 0) {
  std::mt19937 engine(seed);
  Bytes bytes(std::size_t(count) * block_size);
  for (std::uint32_t page = 0; page < count; ++page) {
    const auto at = std::span(bytes).subspan(std::size_t(page) * block_size, block_size);
    for (std::size_t i = 16; i < 3000; ++i)
      at[i] = std::byte(engine() & 0xff);
    at[14] = std::byte(1); // pd_upper
    const std::uint16_t checksum = page_checksum(at, first + page);
    std::memcpy(&at[8], &checksum, sizeof checksum);
  }
  return bytes;
}

inline Bytes control_file() {
  Bytes bytes(8192);
  const auto put = [&](std::size_t offset, auto value) { std::memcpy(bytes.data() + offset, &value, sizeof value); };
  put(0, test_system_identifier);
  put(8, std::uint32_t(1300));
  put(12, std::uint32_t(202209061));
  put(216, 1234567.0);                    // floatFormat
  put(216 + 20, std::uint32_t(16 << 20)); // xlog_seg_size
  put(288, crc32c(ByteView(bytes).first(288)));
  return bytes;
}

class BackupRoundTrip : public testing::TestWithParam<bool> {
 protected:
  BackupRoundTrip() : keys_(KeyRing::parse(keys_text)), store_(clock_), data_(root_.path() / "data") {
    fs::create_directories(data_ / "global");
    fs::create_directories(data_ / "base/5");
    fs::create_directories(data_ / "pg_wal/archive_status");
    fs::create_directories(data_ / "pg_tblspc");
    file("PG_VERSION", as_bytes("15\n"));
    file("postgresql.auto.conf", as_bytes("# mine\n"));
    file("postmaster.pid", as_bytes("1\n"));
    file("global/pg_control", control_file());
    file("pg_wal/000000010000000000000001", as_bytes("no"));
    file("base/5/PG_VERSION", as_bytes("15"));
    file("base/5/16384", pages(200, 1));
    file("base/5/16385", Bytes());
    file("base/5/16386", Bytes(20 * block_size));
    file("base/5/16387", as_bytes("unlogged"));
    file("base/5/16387_init", pages(1, 7));
    file("base/5/16390", pages(region_blocks + 100, 3)); // more than a region
  }

  void file(const std::string& name, ByteView content) { write_file(data_ / name, content); }
  void change(const std::string& name, std::uint32_t page, unsigned seed) {
    const Bytes content = pages(1, seed, page);
    std::fstream out(data_ / name, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(std::streamoff(page) * block_size);
    out.write(as_text(content).data(), std::streamsize(content.size()));
  }
  [[nodiscard]] BackupRepository repository() {
    return {.store = store_,
            .clock = clock_,
            .random = random_,
            .system_identifier = test_system_identifier,
            .keys = GetParam() ? &keys_ : nullptr,
            .origin = "test"};
  }

  BackupHead backup() {
    clock_.advance(std::chrono::hours(24));
    const BackupRepository where = repository();
    options_.threads = threads_;
    BackupRun run(where, options_,
                  [&](const LogMessage& message) {
                    const std::lock_guard lock(mutex_);
                    messages_ += message.text + "\n";
                  },
                  {});
    run.copy({.data_directory = data_, .server_version = 150020, .page_checksums = true, .lsn = 0x1000028}, {});
    return run.finish({.lsn = 0x1000130,
                       .timeline = 1,
                       .time = clock_.wall + server_ahead_,
                       .backup_label = "START WAL LOCATION\n",
                       .tablespace_map = ""},
                      {});
  }

  std::uint64_t restore(const BackupHead& head, const fs::path& to, bool delta = false,
                        const std::map<std::uint32_t, std::string>& tablespaces = {}, bool discard_wal = false) {
    RestoreProgress progress;
    const BackupRepository where = repository();
    restore_backup(where, head,
                   {.data_directory = to,
                    .delta = delta,
                    .discard_wal = discard_wal,
                    .tablespaces = tablespaces,
                    .recovery_settings = "restore_command = 'x'\n",
                    .signal_file = "recovery.signal"},
                   progress, {}, {});
    return progress.bytes_read;
  }

  // Relative path and content of all files.
  static std::map<std::string, std::string> contents(const fs::path& root) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(root))
      if (entry.is_regular_file())
        files[entry.path().lexically_relative(root).string()] = as_text(read_file(entry.path(), 1 << 30));
    return files;
  }
  [[nodiscard]] std::map<std::string, std::string> expected() const {
    auto files = contents(data_);
    for (const char* name : {"postmaster.pid", "pg_wal/000000010000000000000001", "base/5/16387"})
      files.erase(name);
    files["global/pg_control"] = as_text(without_checkpoint(control_file()));
    files["backup_label"] = "START WAL LOCATION\n";
    files["recovery.signal"] = "";
    files["postgresql.auto.conf"] = "# mine\nrestore_command = 'x'\n";
    return files;
  }
  std::vector<std::string> keys(const std::string& part) {
    std::vector<std::string> found;
    ListRequest request;
    request.prefix = cluster_prefix(test_system_identifier) + part;
    for (const ObjectInfo& object : store_.list(request, {}).objects)
      found.push_back(object.key);
    return found;
  }
  void damage(const std::string& key, std::size_t offset) {
    Bytes content = store_.get(key, {}, {}).value();
    content.at(offset) ^= std::byte(0x55);
    store_.overwrite(key, content);
  }

  TemporaryDirectory root_;
  FakeClock clock_;
  SeededRandom random_;
  KeyRing keys_;
  MemoryStore store_;
  fs::path data_;
  std::mutex mutex_;
  std::string messages_;
  unsigned threads_ = 2;
  BackupOptions options_;
  std::chrono::hours server_ahead_{0}; // its clock, of ours and of the store's
};

} // namespace dbops::core
