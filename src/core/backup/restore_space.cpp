#include "core/backup/restore_space.h"

#include <cerrno>
#include <string>
#include <sys/stat.h>
#include <sys/statvfs.h>

namespace dbops::core {

namespace fs = std::filesystem;

RestoreSpace::FileSystem RestoreSpace::file_system_of(const fs::path& place) {
  fs::path there = place;
  while (!fs::exists(there) && there.has_relative_path())
    there = there.parent_path();
  struct statvfs space {};
  struct stat status {};
  if (::statvfs(there.c_str(), &space) != 0 || ::stat(there.c_str(), &status) != 0)
    throw system_error(errno, "could not look at \"" + there.string() + "\"");
  return {status.st_dev, std::uint64_t(space.f_bavail) * space.f_frsize};
}

void RestoreSpace::add(const fs::path& place, std::uint64_t needed, std::uint64_t replaced) {
  const FileSystem found = look_(place);
  Account& account = accounts_.try_emplace(found.id, Account{.place = place, .free = found.free}).first->second;
  account.needed += needed;
  account.replaced += replaced;
}

std::optional<Error> RestoreSpace::shortage() const {
  for (const auto& [id, account] : accounts_)
    if (account.free + account.replaced < account.needed)
      return Error(ErrorKind::no_space,
                   "\"" + account.place.string() + "\" has " + std::to_string(account.free) +
                       " bytes free, and the backup needs " + std::to_string(account.needed) +
                       (account.replaced > 0
                            ? ", of which it replaces " + std::to_string(account.replaced) + " that are there"
                            : ""),
                   "That is for all that goes to this file system. Where it compresses, use --no-space-check.");
  return {};
}

FileSpace space_of_file(const fs::path& path) {
  constexpr std::uint64_t unit = 512; // of st_blocks
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  return {std::uint64_t(status.st_size), std::uint64_t(status.st_blocks) * unit};
}

std::uint64_t allocated_below(const fs::path& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;
  fs::recursive_directory_iterator entry(directory, fs::directory_options::skip_permission_denied, error), end;
  for (; !error && entry != end; entry.increment(error))
    if (is_mount_point(entry->path()))
      entry.disable_recursion_pending();
    else
      bytes += space_of_file(entry->path()).allocated;
  return bytes;
}

bool is_mount_point(const fs::path& directory) {
  struct stat status {};
  struct stat above {};
  return ::lstat(directory.c_str(), &status) == 0 && ::lstat(directory.parent_path().c_str(), &above) == 0 &&
         status.st_dev != above.st_dev;
}

} // namespace dbops::core
