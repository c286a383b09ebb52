// Where the objects of one cluster's WAL lie below <prefix>/<system identifier>/. docs/format.md shows the tree.
#pragma once

#include "core/wal/object_format.h"
#include "core/wal/segment.h"

#include <optional>
#include <string>

namespace dbops::core {

// "7300000000000000001/": what every key of the cluster begins with.
std::string cluster_prefix(std::uint64_t system_identifier);

// Keys below cluster_prefix().
// "wal/00000001/00000000/000000010000000000000001.zst", ".../000000010000000000000001.partial", "wal/00000002.history"
std::string wal_file_key(const WalFileName& file);
// "wal/00000001/00000000/000000010000000000000001/": of the chunks of a segment.
std::string chunk_prefix(const WalFileName& segment);
// "wal/00000001/00000000/000000010000000000000001.partial.<16 hexadecimal digits>": of a segment, or a .partial, of
// which only the beginning is WAL. A reader uses one up to a point that its records lead to, when nothing else has the
// segment up to there.
std::string remnant_key(const WalFileName& segment, ByteView digest);
// The .partial whose remnant a key names. Absent: it is no key of a remnant.
std::optional<WalFileName> parse_remnant_key(std::string_view key);
// "wal/00000001/": of everything of a timeline but its history.
std::string timeline_prefix(TimelineId timeline);

ObjectKind object_kind(WalFileKind kind) noexcept;

// A piece of a segment: bytes [from, to) of the file.
struct ChunkRange {
  std::uint32_t from = 0, to = 0;
  friend bool operator==(const ChunkRange&, const ChunkRange&) = default;
};

// chunk_prefix() + "00000000-00002000.zst": offsets in the segment, hexadecimal.
std::string chunk_key(const WalFileName& segment, const ChunkRange& range);

// What a key below "wal/" stands for. A chunk has the name of its segment and a range.
struct WalKey {
  WalFileName file;
  std::optional<ChunkRange> chunk;
};

// Absent: a key that this version does not know, whose object the caller leaves alone, or that of a remnant.
std::optional<WalKey> parse_wal_key(std::string_view key);

} // namespace dbops::core
