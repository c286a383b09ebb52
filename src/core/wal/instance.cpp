#include "core/wal/instance.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t max_instance_file = 4096; // bytes
constexpr std::string_view heading = "# dbops: the identity of this data directory; a copy of it gets another one.\n";

// Survives a reboot, unlike the number of a device; a copy of the file has another one.
std::string place_of(const fs::path& path) {
  struct statx status {};
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_BASIC_STATS | STATX_BTIME, &status) != 0)
    throw system_error(errno, "could not stat file \"" + path.string() + "\"");
  std::ostringstream text;
  text << status.stx_ino << '-';
  if ((status.stx_mask & STATX_BTIME) != 0)
    text << status.stx_btime.tv_sec << '.' << status.stx_btime.tv_nsec;
  else // a file system without times of birth: what else tells two of them apart
    text << "device " << status.stx_dev_major << ':' << status.stx_dev_minor;
  return text.str();
}

std::string machine() {
  if (const auto file = File::open_if_exists("/etc/machine-id", O_RDONLY)) {
    Bytes id(64);
    id.resize(file->read_at(0, id));
    const std::string text(as_text(id));
    if (const std::string line = text.substr(0, text.find('\n')); !line.empty()) return line;
  }
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return std::string("host ") + name.data();
}

std::string binding(const fs::path& data_directory, const fs::path& file) {
  return place_of(data_directory) + " " + place_of(file) + " " + machine();
}

// Empty: there is none, or it is of another place.
std::string read_identity(const fs::path& data_directory, const fs::path& path) {
  const auto file = File::open_if_exists(path, O_RDONLY);
  if (!file) return {};
  Bytes bytes(max_instance_file);
  bytes.resize(file->read_at(0, bytes));
  std::istringstream text{std::string(as_text(bytes))};
  std::string line, identity, place;
  while (std::getline(text, line)) {
    if (line.starts_with("instance = ")) identity = line.substr(11);
    if (line.starts_with("place = ")) place = line.substr(8);
  }
  const bool here = identity.size() == 32 && place == binding(data_directory, path);
  return here ? identity : std::string();
}

std::string write_identity(const fs::path& data_directory, const fs::path& path, Random& random) {
  std::array<std::byte, 16> bytes{};
  random.fill(bytes);
  const std::string identity = to_hex(bytes);
  const fs::path temporary = path.string() + ".tmp";
  ::unlink(temporary.c_str());
  File file = File::open(temporary, O_WRONLY | O_CREAT | O_EXCL);
  // A rename keeps inode and time of birth.
  file.write(as_bytes(std::string(heading) + "instance = " + identity +
                      "\nplace = " + binding(data_directory, temporary) + "\n"));
  file.sync();
  file.close();
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    throw system_error(errno, "could not rename file \"" + temporary.string() + "\"");
  sync_directory(data_directory);
  return identity;
}

} // namespace

std::string instance_identity(const fs::path& data_directory, Random& random) {
  const fs::path path = data_directory / "dbops.instance";
  const File directory = File::open(data_directory, O_RDONLY | O_DIRECTORY);
  while (::flock(directory.descriptor(), LOCK_EX) != 0) // until the descriptor is closed
    if (errno != EINTR) throw system_error(errno, "could not lock directory \"" + data_directory.string() + "\"");
  const std::string identity = read_identity(data_directory, path);
  return identity.empty() ? write_identity(data_directory, path, random) : identity;
}

std::optional<std::string> known_instance_identity(const fs::path& data_directory) {
  std::string identity = read_identity(data_directory, data_directory / "dbops.instance");
  return identity.empty() ? std::nullopt : std::optional(std::move(identity));
}

} // namespace dbops::core
