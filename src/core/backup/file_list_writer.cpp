#include "core/backup/file_list_writer.h"

namespace dbops::core {

void FileListWriter::add(const FileEntry& entry) {
  encode_entry(entry, open_);
  if (open_.size() >= manifest_part_size) close_part();
}

void FileListWriter::close_part() {
  if (open_.empty()) return;
  closed_.push_back({std::move(open_), packs_.now()});
  open_ = {};
}

void FileListWriter::write(const Part& part, const CallContext& context) {
  Digest digest{};
  bytes_written_ +=
      repository_.put(backup_part_key(label_, written_), ObjectKind::backup_files, part.content, context, &digest);
  digests_.push_back(digest);
  ++written_;
}

std::size_t FileListWriter::write_ready(const CallContext& context) {
  while (!closed_.empty() && packs_.durable_since(closed_.front().moment)) {
    write(closed_.front(), context);
    closed_.pop_front();
  }
  return closed_.size();
}

void FileListWriter::finish(const CallContext& context) {
  close_part();
  for (; !closed_.empty(); closed_.pop_front())
    write(closed_.front(), context);
}

} // namespace dbops::core
