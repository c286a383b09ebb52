#include "core/wal/layout.h"

#include "core/base/bytes.h"

namespace dbops::core {

namespace {

constexpr std::string_view segment_suffix = ".zst";
constexpr std::size_t remnant_digits = 16; // of the digest of its content

std::string directory_of(const WalFileName& file) {
  return "wal/" + file.timeline + "/" + file.log + "/";
}

std::optional<ChunkRange> parse_range(std::string_view text) {
  std::uint64_t from = 0, to = 0;
  if (text.size() != 17 + segment_suffix.size() || text[8] != '-' || !text.ends_with(segment_suffix) ||
      !parse_hex_field(text.substr(0, 8), from) || !parse_hex_field(text.substr(9, 8), to) || from >= to)
    return {};
  return ChunkRange{std::uint32_t(from), std::uint32_t(to)};
}

} // namespace

std::string cluster_prefix(std::uint64_t system_identifier) {
  return std::to_string(system_identifier) + "/";
}

std::string wal_file_key(const WalFileName& file) {
  if (file.kind == WalFileKind::history) return "wal/" + file.name;
  return directory_of(file) + file.name + (file.kind == WalFileKind::segment ? std::string(segment_suffix) : "");
}

std::string chunk_prefix(const WalFileName& segment) {
  return directory_of(segment) + segment.segment + "/";
}

std::string remnant_key(const WalFileName& segment, ByteView digest) {
  return directory_of(segment) + segment.segment + ".partial." + to_hex(digest.first(remnant_digits / 2));
}

std::optional<WalFileName> parse_remnant_key(std::string_view key) {
  if (key.size() <= remnant_digits) return {};
  const std::string_view digest = key.substr(key.size() - remnant_digits);
  key.remove_suffix(remnant_digits);
  if (!key.ends_with('.') || digest.find_first_not_of("0123456789abcdef") != std::string_view::npos) return {};
  key.remove_suffix(1);
  auto partial = parse_wal_key(key);
  if (!partial || partial->chunk || partial->file.kind != WalFileKind::partial) return {};
  return std::move(partial->file);
}

std::string timeline_prefix(TimelineId timeline) {
  return "wal/" + hex_field(timeline, 8) + "/";
}

ObjectKind object_kind(WalFileKind kind) noexcept {
  switch (kind) {
  case WalFileKind::segment:
    return ObjectKind::wal_segment;
  case WalFileKind::partial:
    return ObjectKind::wal_partial;
  case WalFileKind::history:
    return ObjectKind::wal_history;
  case WalFileKind::backup:
    break;
  }
  return ObjectKind::wal_backup_label;
}

std::string chunk_key(const WalFileName& segment, const ChunkRange& range) {
  return chunk_prefix(segment) + hex_field(range.from, 8) + "-" + hex_field(range.to, 8) + std::string(segment_suffix);
}

std::optional<WalKey> parse_wal_key(std::string_view key) {
  const auto last_slash = key.rfind('/');
  if (last_slash == std::string_view::npos) return {};
  std::string_view name = key.substr(last_slash + 1);
  if (const auto range = parse_range(name)) {
    const std::string_view directory = key.substr(0, last_slash);
    const auto segment = parse_wal_file_name(directory.substr(directory.rfind('/') + 1));
    if (segment && segment->kind == WalFileKind::segment && chunk_prefix(*segment) == key.substr(0, last_slash + 1))
      return WalKey{*segment, range};
    return {};
  }
  const bool segment = name.ends_with(segment_suffix);
  if (segment) name.remove_suffix(segment_suffix.size());
  const auto file = parse_wal_file_name(name);
  if (!file || segment != (file->kind == WalFileKind::segment) || wal_file_key(*file) != key) return {};
  return WalKey{*file, {}};
}

} // namespace dbops::core
