#include "core/backup/backup_lock.h"

#include "core/base/error.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>

namespace dbops::core {

// The lock of the data directory itself belongs to instance_identity(), which the archiver calls: to hold it would stop
// the archiving that the backup waits for.
File lock_for_backup(const std::filesystem::path& data_directory) {
  const std::filesystem::path path = data_directory / "base";
  File directory = File::open(path, O_RDONLY | O_DIRECTORY);
  if (::flock(directory.descriptor(), LOCK_EX | LOCK_NB) == 0) return directory;
  if (errno != EWOULDBLOCK) throw system_error(errno, "could not lock \"" + path.string() + "\"");
  throw Error(ErrorKind::conflict, "another backup of this server is running", "Wait for it, or interrupt it.");
}

} // namespace dbops::core
