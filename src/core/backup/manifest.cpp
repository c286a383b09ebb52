#include "core/backup/manifest.h"

#include "core/backup/region_map.h"
#include "core/base/error.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace dbops::core {

namespace {

using Json = nlohmann::ordered_json;

constexpr int manifest_version = 1;

[[noreturn]] void damaged(const std::string& what) {
  throw Error(ErrorKind::corrupt, "a backup's manifest is damaged: " + what);
}

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > 4000 || path.find('\0') != std::string_view::npos) return false;
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

std::uint64_t regions_of(std::uint64_t size) {
  return (size + region_size - 1) / region_size;
}

// A field of an object of the expected type, or an Error(corrupt).
template <class Value>
Value get(const Json& json, const char* name) {
  try {
    return json.at(name).get<Value>();
  } catch (const Json::exception&) {
    damaged(std::string("field \"") + name + "\"");
  }
}

WallTime time_of(const Json& json, const char* name) {
  const auto time = parse_iso8601(get<std::string>(json, name));
  if (!time) damaged(std::string("field \"") + name + "\"");
  return *time;
}

std::string iso8601(WallTime time) {
  const std::string basic = iso8601_basic(time); // 20261121T143000Z
  return basic.substr(0, 4) + "-" + basic.substr(4, 2) + "-" + basic.substr(6, 5) + ":" + basic.substr(11, 2) + ":" +
         basic.substr(13);
}

std::uint64_t number_of(const Json& json, const char* name) {
  const auto text = get<std::string>(json, name);
  if (text.empty() || text.size() > 19 || text.find_first_not_of("0123456789") != std::string::npos)
    damaged(std::string("field \"") + name + "\"");
  return std::stoull(text);
}

Lsn lsn_of(const Json& json, const char* name) {
  const auto lsn = parse_lsn(get<std::string>(json, name));
  if (!lsn) damaged(std::string("field \"") + name + "\"");
  return *lsn;
}

std::string numbered(std::string_view label, const char* directory, std::uint32_t number) {
  return backup_prefix(label) + directory + hex_field(number, 8) + ".zst";
}

} // namespace

std::string path_below(const std::string& directory, std::string_view name) {
  std::string path = directory;
  if (!path.empty()) path += '/';
  return path.append(name);
}

bool path_less(std::string_view a, std::string_view b) noexcept {
  // A slash ends a component, so it sorts before every other character.
  return std::ranges::lexicographical_compare(a, b, [](char x, char y) {
    const auto order = [](char c) { return c == '/' ? 0 : int(static_cast<unsigned char>(c)) + 1; };
    return order(x) < order(y);
  });
}

void encode_entry(const FileEntry& entry, Bytes& to) {
  ByteWriter out(to);
  out.u8(std::uint8_t(entry.type));
  out.text16(entry.path);
  out.u32(entry.mode);
  if (entry.type == EntryType::symlink) out.text16(entry.target);
  if (entry.type != EntryType::file) return;
  out.u64(entry.size);
  out.u64(std::uint64_t(entry.modified));
  for (const BlobRef& region : entry.regions)
    write_blob_ref(out, region);
  out.u32(std::uint32_t(entry.damaged.size()));
  for (const std::uint32_t block : entry.damaged)
    out.u32(block);
}

FileEntry decode_entry(ByteReader& in) {
  FileEntry entry;
  const std::uint8_t type = in.u8();
  if (type < std::uint8_t(EntryType::directory) || type > std::uint8_t(EntryType::symlink)) damaged("a type of file");
  entry.type = EntryType(type);
  entry.path = in.text16();
  if (!is_safe_path(entry.path)) damaged("the path of a file");
  entry.mode = in.u32();
  if ((entry.mode & ~07777U) != 0) damaged("the mode of a file");
  if (entry.type == EntryType::symlink) entry.target = in.text16();
  if (entry.type != EntryType::file) return entry;
  entry.size = in.u64();
  entry.modified = std::int64_t(in.u64());
  constexpr std::size_t ref_size = 32;
  if (entry.size > std::uint64_t(1) << 60 || regions_of(entry.size) > in.remaining() / ref_size)
    damaged("the size of a file");
  entry.regions.resize(regions_of(entry.size));
  for (BlobRef& region : entry.regions)
    region = read_blob_ref(in);
  const std::uint32_t bad = in.u32();
  if (bad > in.remaining() / sizeof bad) damaged("a list of blocks");
  entry.damaged.resize(bad);
  for (std::uint32_t& block : entry.damaged)
    block = in.u32();
  return entry;
}

std::string encode_head(const BackupHead& head) {
  // 64-bit numbers are text: those beyond 2^53 do not survive every JSON reader.
  Json json = {{"dbops_backup", manifest_version},
               {"label", head.label},
               {"base", head.base},
               {"system_identifier", std::to_string(head.system_identifier)},
               {"server_version", head.server_version},
               {"wal_segment_size", head.wal_segment_size},
               {"page_checksums", head.page_checksums},
               {"started", iso8601(head.started)},
               {"finished", iso8601(head.finished)},
               {"start_lsn", to_string(head.start_lsn)},
               {"stop_lsn", to_string(head.stop_lsn)},
               {"timeline", head.timeline},
               {"user_label", head.user_label},
               {"annotations", head.annotations},
               {"file_parts", head.file_parts},
               {"pack_parts", head.pack_parts},
               {"content", to_hex(head.content)},
               {"files", std::to_string(head.files)},
               {"bytes", std::to_string(head.bytes)},
               {"new_blocks", std::to_string(head.new_blocks)},
               {"new_bytes", std::to_string(head.new_bytes)},
               {"stored_bytes", std::to_string(head.stored_bytes)},
               {"damaged_blocks", std::to_string(head.damaged_blocks)},
               {"control_file", to_hex(head.control_file)},
               {"backup_label", head.backup_label},
               {"tablespace_map", head.tablespace_map}};
  json["tablespaces"] = Json::array();
  for (const TablespaceInfo& space : head.tablespaces)
    json["tablespaces"].push_back({{"oid", space.oid}, {"location", space.location}});
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

BackupHead decode_head(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("dbops_backup")) damaged("its head is not what dbops wrote");
  if (get<int>(json, "dbops_backup") != manifest_version)
    throw Error(ErrorKind::configuration, "the backup has a newer format", "Use a newer version of dbops.");
  BackupHead head;
  head.label = get<std::string>(json, "label");
  head.base = get<std::string>(json, "base");
  if (!is_backup_label(head.label) || (!head.base.empty() && !is_backup_label(head.base))) damaged("field \"label\"");
  head.system_identifier = number_of(json, "system_identifier");
  head.server_version = get<std::uint32_t>(json, "server_version");
  head.wal_segment_size = get<std::uint32_t>(json, "wal_segment_size");
  if (!SegmentSize::valid(head.wal_segment_size)) damaged("field \"wal_segment_size\"");
  head.page_checksums = get<bool>(json, "page_checksums");
  head.started = time_of(json, "started");
  head.finished = time_of(json, "finished");
  head.start_lsn = lsn_of(json, "start_lsn");
  head.stop_lsn = lsn_of(json, "stop_lsn");
  head.timeline = get<std::uint32_t>(json, "timeline");
  head.user_label = get<std::string>(json, "user_label");
  head.annotations = get<std::map<std::string, std::string>>(json, "annotations");
  head.file_parts = get<std::uint32_t>(json, "file_parts");
  head.pack_parts = get<std::uint32_t>(json, "pack_parts");
  const Bytes content = from_hex(get<std::string>(json, "content"));
  if (content.size() != head.content.size()) damaged("field \"content\"");
  std::ranges::copy(content, head.content.begin());
  head.files = number_of(json, "files");
  head.bytes = number_of(json, "bytes");
  head.new_blocks = number_of(json, "new_blocks");
  head.new_bytes = number_of(json, "new_bytes");
  head.stored_bytes = number_of(json, "stored_bytes");
  head.damaged_blocks = number_of(json, "damaged_blocks");
  head.control_file = from_hex(get<std::string>(json, "control_file"));
  head.backup_label = get<std::string>(json, "backup_label");
  head.tablespace_map = get<std::string>(json, "tablespace_map");
  const Json spaces = get<Json>(json, "tablespaces");
  if (!spaces.is_array()) damaged("field \"tablespaces\"");
  for (const Json& space : spaces)
    head.tablespaces.push_back({get<std::uint32_t>(space, "oid"), get<std::string>(space, "location")});
  return head;
}

bool is_backup_label(std::string_view text) noexcept {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return false;
  return std::ranges::count_if(text, [](char c) { return c >= '0' && c <= '9'; }) == 14;
}

std::string backup_prefix(std::string_view label) {
  return "backup/" + std::string(label) + "/";
}

std::string backup_head_key(std::string_view label) {
  return backup_prefix(label) + "manifest";
}

std::string backup_part_key(std::string_view label, std::uint32_t number) {
  return numbered(label, "files/", number);
}

std::string backup_packs_key(std::string_view label, std::uint32_t number) {
  return numbered(label, "packs/", number);
}

std::string backup_begun_key(std::string_view label) {
  return backup_prefix(label) + "begun";
}

} // namespace dbops::core
