#include "core/wal/known_repositories.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sstream>
#include <sys/file.h>
#include <unistd.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr const char* file_name = "dbops.repositories";
constexpr std::uint64_t max_file_size = 256 << 10; // bytes
constexpr std::string_view heading =
    "# dbops: stores that hold a repository of this cluster. One that is empty is refused.\n";

} // namespace

KnownRepositories::KnownRepositories(fs::path data_directory) : directory_(std::move(data_directory)) {}

std::vector<std::string> KnownRepositories::read() const {
  if (!File::open_if_exists(directory_ / file_name, O_RDONLY)) return {};
  std::istringstream text{std::string(as_text(read_file(directory_ / file_name, max_file_size)))};
  std::vector<std::string> stores;
  for (std::string line; std::getline(text, line);)
    if (!line.empty() && !line.starts_with('#')) stores.push_back(line);
  return stores;
}

bool KnownRepositories::contains(const std::string& store) const {
  return std::ranges::count(read(), store) != 0;
}

void KnownRepositories::add(const std::string& store) const {
  if (store.find('\n') == std::string::npos && !contains(store)) change(store, true);
}

void KnownRepositories::remove(const std::string& store) const {
  if (contains(store)) change(store, false);
}

void KnownRepositories::change(const std::string& store, bool wanted) const {
  const File lock = File::open(directory_, O_RDONLY | O_DIRECTORY);
  while (::flock(lock.descriptor(), LOCK_EX) != 0) // until the descriptor is closed
    if (errno != EINTR) throw system_error(errno, "could not lock directory \"" + directory_.string() + "\"");
  std::vector<std::string> stores = read();
  std::erase(stores, store);
  if (wanted) stores.push_back(store);
  const fs::path path = directory_ / file_name, temporary = path.string() + ".tmp";
  ::unlink(temporary.c_str());
  File file = File::open(temporary, O_WRONLY | O_CREAT | O_EXCL);
  std::string text(heading);
  for (const std::string& one : stores)
    text += one + "\n";
  file.write(as_bytes(text));
  file.sync();
  file.close();
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    throw system_error(errno, "could not rename file \"" + temporary.string() + "\"");
  sync_directory(directory_);
}

} // namespace dbops::core
