// Positions in the write-ahead log and the names of its files (access/xlog_internal.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dbops::core {

using TimelineId = std::uint32_t;
using Lsn = std::uint64_t; // byte position in the log
using SegmentNumber = std::uint64_t;

// wal_segment_size: a power of two from 1 MiB to 1 GiB, fixed when a cluster is initialised.
class SegmentSize {
 public:
  // Throws Error(configuration) for another value.
  explicit SegmentSize(std::uint64_t bytes);
  [[nodiscard]] static bool valid(std::uint64_t bytes) noexcept;

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  // Segments in one 4 GiB "log", the middle part of a segment's name.
  [[nodiscard]] std::uint64_t per_log() const noexcept { return (std::uint64_t(1) << 32) / bytes_; }
  [[nodiscard]] SegmentNumber segment_of(Lsn lsn) const noexcept { return lsn / bytes_; }
  [[nodiscard]] Lsn start_of(SegmentNumber segment) const noexcept { return segment * bytes_; }
  friend bool operator==(const SegmentSize&, const SegmentSize&) = default;

 private:
  std::uint64_t bytes_;
};

struct SegmentId {
  TimelineId timeline = 0;
  SegmentNumber number = 0;
  friend bool operator==(const SegmentId&, const SegmentId&) = default;
};

// "000000010000000000000001"
std::string segment_name(const SegmentId& id, SegmentSize size);
// Absent for anything that this size cannot have.
std::optional<SegmentId> parse_segment_name(std::string_view name, SegmentSize size);

// "0/1A2B3C4D", the form that PostgreSQL prints.
std::string to_string(Lsn lsn);
std::optional<Lsn> parse_lsn(std::string_view text);

// The kinds of file that an archiver is offered and a restore asks for.
enum class WalFileKind : std::uint8_t {
  segment, // 000000010000000000000001
  partial, // 000000010000000000000001.partial: the last one of a timeline that ended
  history, // 00000002.history
  backup,  // 000000010000000000000001.00000028.backup: label of a base backup
};

struct WalFileName {
  WalFileKind kind = WalFileKind::segment;
  std::string name;     // in pg_wal
  std::string timeline; // 8 hexadecimal digits
  std::string log;      // 8 hexadecimal digits; empty for a history file
  std::string segment;  // 24 hexadecimal digits; empty for a history file
};

// Absent: not the name of one of these kinds. Does not need the segment size.
std::optional<WalFileName> parse_wal_file_name(std::string_view name);

} // namespace dbops::core
