#include "core/wal/cluster_identity.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/page_header.h"

#include <cstring>
#include <fcntl.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

// ControlFileData (catalog/pg_control.h): PG_CONTROL_VERSION is 1300 in PostgreSQL 13 to 16, 1700 and 1800 after that.
constexpr std::uint32_t oldest_control_version = 1300, newest_control_version = 9999;
constexpr std::size_t control_data_size = 512; // PG_CONTROL_MAX_SAFE_SIZE
constexpr double float_format = 1234567.0;     // FLOATFORMAT_VALUE, at another offset in each version;
constexpr std::size_t segment_size_behind_float_format = 8 + 12; // blcksz, relseg_size and xlog_blcksz are between

template <class Value>
std::optional<Value> native(ByteView bytes, std::size_t offset) {
  Value value{};
  if (offset + sizeof value > bytes.size()) return {};
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::optional<SegmentSize> find_segment_size(ByteView control_file) {
  for (std::size_t offset = 16; offset + sizeof(double) <= control_file.size(); offset += sizeof(double)) {
    if (native<double>(control_file, offset) != float_format) continue;
    const auto size = native<std::uint32_t>(control_file, offset + segment_size_behind_float_format);
    if (size && SegmentSize::valid(*size)) return SegmentSize(*size);
  }
  return {};
}

Bytes read_start(const fs::path& path, std::size_t length) {
  const auto file = File::open_if_exists(path, O_RDONLY);
  if (!file) return {};
  Bytes bytes(length);
  bytes.resize(file->read_at(0, bytes));
  return bytes;
}

std::optional<ClusterIdentity> identity_of_segment(const fs::path& path) {
  try {
    const SegmentHeader header = parse_segment_header(read_start(path, 64));
    if (header.system_identifier == 0 || !SegmentSize::valid(header.segment_size)) return {};
    return ClusterIdentity{header.system_identifier, SegmentSize(header.segment_size)};
  } catch (const Error&) { // a file that was made for later use has no header yet
    return {};
  }
}

} // namespace

std::optional<ClusterIdentity> parse_control_file(ByteView control_file) {
  const auto identifier = native<std::uint64_t>(control_file, 0);
  const auto version = native<std::uint32_t>(control_file, 8);
  if (!identifier || *identifier == 0 || !version || *version < oldest_control_version ||
      *version > newest_control_version)
    return {};
  return ClusterIdentity{*identifier,
                         find_segment_size(control_file.first(std::min(control_file.size(), control_data_size)))};
}

std::optional<ClusterIdentity> read_cluster_identity(const fs::path& data_directory) {
  if (auto identity = parse_control_file(read_start(data_directory / "global" / "pg_control", control_data_size)))
    return identity;
  std::error_code error;
  for (fs::directory_iterator entry(data_directory / "pg_wal", error), end; !error && entry != end;
       entry.increment(error)) {
    const auto name = parse_wal_file_name(entry->path().filename().string());
    if (!name || name->kind != WalFileKind::segment) continue;
    if (auto identity = identity_of_segment(entry->path())) return identity;
  }
  return {};
}

} // namespace dbops::core
