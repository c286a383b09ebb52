#include "core/wal/wal_file.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace dbops::core {

File open_wal_file(const std::filesystem::path& path) {
  auto file = File::open_if_exists(path, O_RDONLY);
  if (!file) throw WalFileGone("file \"" + path.string() + "\" is not there any more");
  return std::move(*file);
}

void require_not_recycled(const File& file, const std::filesystem::path& path) {
  struct stat opened {
  }, named{};
  if (::fstat(file.descriptor(), &opened) != 0)
    throw system_error(errno, "could not stat file \"" + path.string() + "\"");
  if (::stat(path.c_str(), &named) != 0 || named.st_ino != opened.st_ino || named.st_dev != opened.st_dev)
    throw WalFileGone("file \"" + path.string() + "\" was recycled while it was read");
}

} // namespace dbops::core
