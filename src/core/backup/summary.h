// One object that holds what the small objects of a catalogue say, so that a list of a thousand backups takes a few
// requests. Every backup writes one behind its manifest. Specified in docs/format.md.
#pragma once

#include "core/base/bytes.h"

#include <string>
#include <vector>

namespace dbops::core {

// An object that never changes, and what it says: its plaintext, of a manifest without what a catalogue does not need.
struct SummaryEntry {
  std::string name; // "backup/<label>/manifest", "drill/<time>-<random>.json", "verify/<time>-<random>.json"
  std::string content;
};

// Plaintext bytes. What does not fit is left out, and read from its own object.
constexpr std::size_t max_summary_size = 16 << 20;

// "summary/<label>": of the backup that wrote it. Expiry removes it before the manifest of that backup.
std::string summary_key(std::string_view label);

Bytes encode_summary(const std::vector<SummaryEntry>& entries);
// Throws Error(corrupt).
std::vector<SummaryEntry> decode_summary(ByteView bytes);

} // namespace dbops::core
