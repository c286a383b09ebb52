// What a backup says of itself: a head, and lists of files and of packs in parts. Specified in docs/format.md.
#pragma once

#include "core/backup/pack.h"
#include "core/wal/segment.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

enum class EntryType : std::uint8_t { directory = 1, file = 2, symlink = 3 };

struct FileEntry {
  EntryType type = EntryType::file;
  std::string path; // below the data directory; files of a tablespace below "pg_tblspc/<oid>/"
  std::uint32_t mode = 0600;
  std::string target;                 // of a symlink
  std::uint64_t size = 0;             // of a file, bytes
  std::int64_t modified = 0;          // of a file: microseconds since 1970, for people; nothing is decided by it
  std::vector<BlobRef> regions;       // maps of the file's regions, in order
  std::vector<std::uint32_t> damaged; // blocks that were corrupt in the source: numbers within the file
};

// What `name` is called below `directory`, which is empty for the data directory.
std::string path_below(const std::string& directory, std::string_view name);

// Directories before what is in them, names in byte order: so two lists can be read side by side.
bool path_less(std::string_view a, std::string_view b) noexcept;

void encode_entry(const FileEntry& entry, Bytes& to);
// Throws Error(corrupt), also for a path that would lead out of the data directory.
FileEntry decode_entry(ByteReader& in);

struct TablespaceInfo {
  std::uint32_t oid = 0;
  std::string location;
};

// The object that makes a backup one: written last.
struct BackupHead {
  std::string label;
  std::string base; // label of the backup that its blocks were compared with; empty: of none
  std::uint64_t system_identifier = 0;
  std::uint32_t server_version = 0; // 150020
  std::uint32_t wal_segment_size = 0;
  bool page_checksums = false;
  WallTime started, finished; // start: the label's; end: of pg_backup_stop(), by the server's clock
  Lsn start_lsn = 0, stop_lsn = 0;
  TimelineId timeline = 0;
  std::vector<TablespaceInfo> tablespaces;
  std::map<std::string, std::string> annotations;
  std::string user_label;
  std::uint32_t file_parts = 0, pack_parts = 0; // how many objects of each
  Digest content{};                             // SHA-256 over the digests of all parts: of files, then of packs
  std::uint64_t files = 0, bytes = 0;           // in the cluster
  std::uint64_t new_blocks = 0, new_bytes = 0;  // blocks that no earlier backup had; bytes of objects written
  std::uint64_t stored_bytes = 0;               // of all packs that it refers to
  std::uint64_t damaged_blocks = 0;             // corrupt in the source
  Bytes control_file;                           // global/pg_control
  std::string backup_label, tablespace_map;     // files that pg_backup_stop() gave; the second one may be empty
};

std::string encode_head(const BackupHead& head);
// Throws Error(corrupt), or Error(configuration) for a newer format.
BackupHead decode_head(std::string_view json);

// Labels: the time of the start in UTC, "20261121T143000Z"; in the order of time.
bool is_backup_label(std::string_view text) noexcept;
std::string backup_prefix(std::string_view label);                          // "backup/<label>/"
std::string backup_head_key(std::string_view label);                        // ".../manifest"
std::string backup_part_key(std::string_view label, std::uint32_t number);  // ".../files/00000000.zst"
std::string backup_packs_key(std::string_view label, std::uint32_t number); // ".../packs/00000000.zst"
std::string backup_begun_key(std::string_view label);                       // ".../begun"

} // namespace dbops::core
