#include "core/backup/summary.h"

namespace dbops::core {

std::string summary_key(std::string_view label) {
  return "summary/" + std::string(label);
}

Bytes encode_summary(const std::vector<SummaryEntry>& entries) {
  constexpr std::size_t lengths = 2 + 4; // of a name, and of a content
  Bytes bytes;
  ByteWriter out(bytes);
  for (const SummaryEntry& entry : entries) {
    if (bytes.size() + lengths + entry.name.size() + entry.content.size() > max_summary_size) continue;
    out.text16(entry.name);
    out.u32(std::uint32_t(entry.content.size()));
    out.raw(as_bytes(entry.content));
  }
  return bytes;
}

std::vector<SummaryEntry> decode_summary(ByteView bytes) {
  std::vector<SummaryEntry> entries;
  for (ByteReader in(bytes); in.remaining() > 0;) {
    SummaryEntry entry;
    entry.name = in.text16();
    entry.content = std::string(as_text(in.raw(in.u32())));
    entries.push_back(std::move(entry));
  }
  return entries;
}

} // namespace dbops::core
