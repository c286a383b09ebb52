// The list of files of a backup under way: results come in any order, parts are written in theirs.
#pragma once

#include "core/backup/manifest_store.h"

#include <deque>
#include <functional>

namespace dbops::core {

// For one thread.
class FileListWriter {
 public:
  // A moment of the pack writers, and whether all packs that were open then are durable.
  using Moment = std::vector<std::uint64_t>;
  struct Packs {
    std::function<Moment()> now;
    std::function<bool(const Moment&)> durable_since;
  };

  FileListWriter(const BackupRepository& repository, std::string label, Packs packs)
      : repository_(repository), label_(std::move(label)), packs_(std::move(packs)) {}

  // All that the entry refers to is in packs that are open or durable now.
  void add(const FileEntry& entry);
  // Writes the parts whose packs are durable: a part that is in the store can be relied on. Returns how many closed
  // parts still wait.
  std::size_t write_ready(const CallContext& context);
  // All of it; every pack is durable.
  void finish(const CallContext& context);

  [[nodiscard]] std::uint32_t parts() const noexcept { return written_; }
  [[nodiscard]] const std::vector<Digest>& digests() const noexcept { return digests_; }
  [[nodiscard]] std::uint64_t bytes_written() const noexcept { return bytes_written_; }

 private:
  struct Part {
    Bytes content;
    Moment moment;
  };
  void write(const Part& part, const CallContext& context);
  void close_part();

  const BackupRepository& repository_;
  std::string label_;
  Packs packs_;
  Bytes open_;
  std::deque<Part> closed_;
  std::uint32_t written_ = 0;
  std::vector<Digest> digests_;
  std::uint64_t bytes_written_ = 0;
};

} // namespace dbops::core
