#include "core/wal/offsite_backlog.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/object_format.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <sstream>
#include <sys/file.h>
#include <unistd.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t max_backlog_file = 16384; // bytes

// Held until it is destroyed; processes of one cluster exclude each other.
class DirectoryLock {
 public:
  explicit DirectoryLock(const fs::path& directory) : directory_(File::open(directory, O_RDONLY | O_DIRECTORY)) {
    while (::flock(directory_.descriptor(), LOCK_EX) != 0)
      if (errno != EINTR) throw system_error(errno, "could not lock directory \"" + directory.string() + "\"");
  }

 private:
  File directory_;
};

std::optional<OffsiteBacklog> parse(const std::string& text) {
  OffsiteBacklog backlog;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("store = ")) backlog.store = line.substr(8);
    if (line.starts_with("after = ")) backlog.position = line.substr(8);
    if (line.starts_with("revision = ")) std::from_chars(line.data() + 11, line.data() + line.size(), backlog.revision);
  }
  if (backlog.store.empty()) return {};
  return backlog;
}

std::optional<OffsiteBacklog> read_file_of(const fs::path& path, const std::string& store) {
  const auto file = File::open_if_exists(path, O_RDONLY);
  if (!file) return {};
  Bytes bytes(max_backlog_file);
  bytes.resize(file->read_at(0, bytes));
  auto backlog = parse(std::string(as_text(bytes)));
  if (!backlog || backlog->store != store) return {};
  return backlog;
}

// Comes right before all that belongs to the file: its object, its chunks, labels in its segment.
std::string position_before(const WalFileName& file) {
  const std::string key = wal_file_key(file);
  const std::string directory = key.substr(0, key.rfind('/') + 1);
  return directory + (file.kind == WalFileKind::history ? file.timeline : file.segment);
}

} // namespace

OffsiteBacklogFile::OffsiteBacklogFile(fs::path data_directory)
    : directory_(std::move(data_directory)), path_(directory_ / "dbops.offsite_backlog") {}

std::optional<OffsiteBacklog> OffsiteBacklogFile::read(const std::string& store) const {
  return read_file_of(path_, store);
}

void OffsiteBacklogFile::write(const OffsiteBacklog& backlog) const {
  const fs::path temporary = path_.string() + ".tmp";
  File file = File::open(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  file.write(as_bytes("# dbops: what the offsite repository may lack; copied from the other one when it answers.\n"
                      "store = " +
                      backlog.store + "\nafter = " + backlog.position +
                      "\nrevision = " + std::to_string(backlog.revision) + "\n"));
  file.sync();
  file.close();
  if (::rename(temporary.c_str(), path_.c_str()) != 0)
    throw system_error(errno, "could not rename file \"" + temporary.string() + "\"");
  sync_directory(directory_);
}

void OffsiteBacklogFile::add(const std::string& store, const WalFileName& file) {
  const DirectoryLock lock(directory_);
  const std::string position = position_before(file);
  auto backlog = read_file_of(path_, store).value_or(OffsiteBacklog{.store = store, .position = position});
  backlog.position = std::min(backlog.position, position);
  ++backlog.revision;
  write(backlog);
}

bool OffsiteBacklogFile::advance(const OffsiteBacklog& seen, const std::string& position) {
  const DirectoryLock lock(directory_);
  auto backlog = read_file_of(path_, seen.store);
  if (!backlog || backlog->revision != seen.revision) return false;
  backlog->position = position;
  write(*backlog);
  return true;
}

bool OffsiteBacklogFile::clear(const OffsiteBacklog& seen) {
  const DirectoryLock lock(directory_);
  const auto backlog = read_file_of(path_, seen.store);
  if (!backlog || backlog->revision != seen.revision) return false;
  ::unlink(path_.c_str());
  sync_directory(directory_);
  return true;
}

RepositoryCopier::RepositoryCopier(ObjectStore& from, ObjectStore& to, std::uint64_t system_identifier)
    : from_(from), to_(to), root_(cluster_prefix(system_identifier)) {}

// Keys of the second repository between the two, the last one included.
std::vector<std::string> RepositoryCopier::present(const std::string& after, const std::string& last,
                                                   const CallContext& context) const {
  ListRequest request;
  request.prefix = root_ + "wal/";
  request.start_after = root_ + after;
  std::vector<std::string> keys;
  do {
    ListPage page = to_.list(request, context);
    for (ObjectInfo& object : page.objects) {
      if (object.key > last) return keys;
      const auto key = parse_wal_key(std::string_view(object.key).substr(root_.size()));
      if (key && !key->chunk) keys.push_back(std::move(object.key));
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return keys;
}

std::uint64_t RepositoryCopier::copy_object(const std::string& key, const CallContext& context) {
  const auto object = from_.get(key, {}, context);
  if (!object)
    throw Error(ErrorKind::unavailable,
                "object \"" + key + "\" of " + from_.describe() + " vanished since it was listed");
  const Digest ours = parse_object_header(*object).digest;
  if (to_.put_if_absent(key, *object, context) == PutResult::exists) {
    const auto start = to_.get(key, {.offset = 0, .length = max_object_header_size}, context);
    if (!start || parse_object_header(*start).digest != ours)
      throw Error(ErrorKind::conflict, "object \"" + key + "\" has one content in " + from_.describe() +
                                           " and another in " + to_.describe());
  }
  return object->size();
}

RepositoryCopier::Step RepositoryCopier::copy(const std::string& position, std::size_t limit,
                                              const CallContext& context) {
  ListRequest request;
  request.prefix = root_ + "wal/";
  request.start_after = root_ + position;
  const ListPage page = from_.list(request, context);
  Step step{.position = position, .complete = page.continuation.empty()};
  if (page.objects.empty()) return step;
  const std::vector<std::string> there = present(position, page.objects.back().key, context);
  for (const ObjectInfo& object : page.objects) {
    const auto key = parse_wal_key(std::string_view(object.key).substr(root_.size()));
    const bool wanted = key && !key->chunk && !std::ranges::binary_search(there, object.key);
    if (wanted && step.copied == limit) {
      step.complete = false;
      return step;
    }
    if (wanted) {
      step.bytes += copy_object(object.key, context);
      ++step.copied;
    }
    step.position = object.key.substr(root_.size());
  }
  return step;
}

} // namespace dbops::core
