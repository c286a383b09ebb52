#include "core/wal/wal_file.h"

#include <fcntl.h>

namespace dbops::core {

File open_wal_file(const std::filesystem::path& path) {
  auto file = File::open_if_exists(path, O_RDONLY);
  if (!file) throw WalFileGone("file \"" + path.string() + "\" is not there any more");
  return std::move(*file);
}

} // namespace dbops::core
