// One file out of a backup, for who wants to look into it: a restore has better ways.
#pragma once

#include "core/backup/manifest_store.h"
#include "core/backup/pack_reader.h"

#include <functional>

namespace dbops::core {

// Absent: the backup has no such path. Reads the list of files from its beginning.
std::optional<FileEntry> find_stored_file(const BackupRepository& repository, const BackupHead& head,
                                          const std::string& path, const CallContext& context);

// Hands the content to the sink, region by region (32 MiB). Blocks that cannot be read, or are not what the backup says
// that they are, are zeros. Throws Error: of a map that cannot be read, and what ObjectStore throws.
void read_stored_file(const FileEntry& file, PackReader& packs, BlobReader& maps,
                      const std::function<void(ByteView)>& sink, const CallContext& context);

} // namespace dbops::core
