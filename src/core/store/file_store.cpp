#include "core/store/file_store.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdexcept>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t write_size = 1 << 20; // between two looks at the stop token, and two flushes
constexpr std::string_view temporary_prefix = ".dbops-";
constexpr std::time_t abandoned_after = 24 * 3600; // seconds; an upload takes much less

void check_stop(const CallContext& context) {
  if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "cancelled");
}

WallTime modified_of(const struct stat& status) {
  using namespace std::chrono;
  return WallTime(seconds(status.st_mtim.tv_sec) + duration_cast<microseconds>(nanoseconds(status.st_mtim.tv_nsec)));
}

// Gives `temporary` its final name unless that is taken. False: it is taken.
bool link_exclusively(const fs::path& temporary, const fs::path& path) {
  if (::link(temporary.c_str(), path.c_str()) == 0) return true;
  const bool no_hard_links = errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK;
  if (no_hard_links && ::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0)
    return true;
  if (errno == EEXIST) return false;
  throw system_error(errno, "could not create file \"" + path.string() + "\"");
}

// What a crash left of puts into this directory. Nothing depends on it, so errors are of no interest. A clock that
// jumps may cost a put under way its file: that put fails and is made again.
void remove_abandoned(const fs::path& directory) {
  const std::time_t now = std::time(nullptr);
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (!entry->path().filename().native().starts_with(temporary_prefix)) continue;
    struct stat status {};
    if (::lstat(entry->path().c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
        now - status.st_mtime > abandoned_after)
      ::unlink(entry->path().c_str());
  }
}

struct Entry {
  std::string name; // a directory's ends with "/": that is its place in the byte order of keys
  fs::path path;
};

std::vector<Entry> sorted_entries(const fs::path& directory) {
  std::vector<Entry> entries;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (name.front() == '.') continue;
    std::error_code type_error;
    if (entry->is_directory(type_error)) name += '/';
    if (type_error && type_error != std::errc::no_such_file_or_directory && type_error != std::errc::not_a_directory)
      throw system_error(type_error.value(), "could not stat file \"" + entry->path().string() + "\"");
    entries.push_back({std::move(name), entry->path()});
  }
  if (error && error != std::errc::no_such_file_or_directory)
    throw system_error(error.value(), "could not read directory \"" + directory.string() + "\"");
  std::ranges::sort(entries, {}, &Entry::name);
  return entries;
}

// False: the page is full.
bool list_directory(const fs::path& directory, const std::string& key_prefix, ListPageBuilder& page,
                    const CallContext& context) {
  check_stop(context);
  for (const Entry& entry : sorted_entries(directory)) {
    const std::string key = key_prefix + entry.name;
    if (entry.name.back() == '/') {
      if (page.may_contain(key) && !list_directory(entry.path, key, page, context)) return false;
      continue;
    }
    struct stat status {};
    if (::stat(entry.path.c_str(), &status) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) continue; // removed since the directory was read
      throw system_error(errno, "could not stat file \"" + entry.path.string() + "\"");
    }
    if (S_ISREG(status.st_mode) && !page.offer({key, std::uint64_t(status.st_size), modified_of(status)})) return false;
  }
  return true;
}

} // namespace

FileStore::FileStore(fs::path root, Random& random) : root_(std::move(root)), random_(random) {
  if (!root_.is_absolute())
    throw Error(ErrorKind::configuration, "the path of a file store must be absolute: \"" + root_.string() + "\"");
  require_root();
}

void FileStore::require_root() const {
  std::error_code error;
  if (!fs::is_directory(root_, error))
    throw Error(ErrorKind::unavailable,
                "directory \"" + root_.string() + "\" of the file store is not there" +
                    (error && error != std::errc::no_such_file_or_directory ? ": " + error.message() : ""),
                "Create the directory, or mount the file system that holds it.");
}

fs::path FileStore::path_of(const std::string& key) const {
  validate_key(key);
  return root_ / key;
}

void FileStore::make_directories(const fs::path& directory) {
  const std::lock_guard lock(mutex_);
  if (directory == root_ || durable_directories_.contains(directory)) return;
  fs::path path = root_;
  for (const fs::path& part : directory.lexically_relative(root_)) {
    const fs::path parent = path;
    path /= part;
    if (durable_directories_.contains(path)) continue;
    const bool made = ::mkdir(path.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) throw system_error(errno, "could not create directory \"" + path.string() + "\"");
    if (parent == root_ && !top_directories_.insert(path).second && made) {
      ::rmdir(path.c_str());
      throw Error(ErrorKind::unavailable, "directory \"" + path.string() + "\" of the file store is gone",
                  "Mount its file system again, or restore what was removed.");
    }
    sync_directory(parent); // also when it existed: another process may have made it a moment ago
    durable_directories_.insert(path);
    remove_abandoned(path);
  }
}

// A directory that was there a moment ago is gone: nothing that is known of them holds any more.
template <typename F>
auto FileStore::outage_when_gone(F write) -> decltype(write()) {
  try {
    return write();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_found) throw;
    {
      const std::lock_guard lock(mutex_);
      durable_directories_.clear();
    }
    require_root();
    throw Error(ErrorKind::unavailable, error.what(), "Was the file store unmounted, or a directory of it removed?");
  }
}

// When the name is taken already, nothing is written.
class FileStore::Upload final : public ObjectUpload {
 public:
  Upload(FileStore& store, fs::path path, std::size_t head_size, CallContext context)
      : store_(store), path_(std::move(path)), head_size_(head_size), position_(head_size),
        context_(std::move(context)) {
    if (::access(path_.c_str(), F_OK) == 0) return;
    std::array<std::byte, 8> suffix{};
    store_.random_.fill(suffix);
    temporary_ = path_.parent_path() / (std::string(temporary_prefix) + to_hex(suffix));
    file_.emplace(File::open(temporary_, O_WRONLY | O_CREAT | O_EXCL));
  }
  ~Upload() override {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  void write(ByteView bytes) override {
    while (file_ && !bytes.empty()) {
      check_stop(context_);
      const ByteView piece = bytes.first(std::min(bytes.size(), write_size));
      file_->write_at(position_, piece);
      position_ += piece.size();
      bytes = bytes.subspan(piece.size());
      if (position_ - flushing_to_ >= write_size) flush();
    }
  }

  PutResult finish(ByteView head) override {
    if (head.size() != head_size_) throw std::logic_error("an object's head has another size than announced");
    return store_.outage_when_gone([&] { return write_durably(head); });
  }

 private:
  // Little by little: a burst of megabytes at the end would be waited for by who commits on the same disk meanwhile.
  void flush() {
    file_->begin_write_back(flushing_to_, position_ - flushing_to_);
    if (flushing_to_ > flushed_to_) file_->finish_write_back(flushed_to_, flushing_to_ - flushed_to_);
    flushed_to_ = std::exchange(flushing_to_, position_);
  }

  PutResult write_durably(ByteView head) {
    bool created = false;
    if (file_) {
      check_stop(context_);
      file_->write_at(0, head);
      file_->sync();
      file_->close();
      created = link_exclusively(temporary_, path_);
    }
    // Also when it was there: its writer may not have come to its own fsync of the directory yet.
    sync_directory(path_.parent_path());
    return created ? PutResult::created : PutResult::exists;
  }

  FileStore& store_;
  fs::path path_, temporary_;
  std::size_t head_size_;
  std::uint64_t position_; // where the next bytes go
  std::uint64_t flushed_to_ = 0, flushing_to_ = 0;
  CallContext context_;
  std::optional<File> file_;
};

std::unique_ptr<ObjectUpload> FileStore::begin_upload(const std::string& key, std::size_t head_size,
                                                      const CallContext& context) {
  check_stop(context);
  const fs::path path = path_of(key);
  require_root();
  return outage_when_gone([&] {
    make_directories(path.parent_path());
    return std::make_unique<Upload>(*this, path, head_size, context);
  });
}

PutResult FileStore::put_if_absent(const std::string& key, ByteView body, const CallContext& context) {
  const auto upload = begin_upload(key, 0, context);
  upload->write(body);
  return upload->finish({});
}

std::optional<Bytes> FileStore::get(const std::string& key, const ByteRange& range, const CallContext& context) {
  check_stop(context);
  const auto file = File::open_if_exists(path_of(key), O_RDONLY);
  if (!file) {
    require_root();
    return {};
  }
  const std::uint64_t size = file->size();
  const std::uint64_t from = std::min(range.offset, size);
  Bytes bytes(std::size_t(std::min(range.length.value_or(size), size - from)));
  if (file->read_at(from, bytes) != bytes.size())
    throw Error(ErrorKind::corrupt, "object \"" + key + "\" of " + describe() + " became shorter while it was read");
  return bytes;
}

std::optional<ObjectInfo> FileStore::head(const std::string& key, const CallContext& context) {
  check_stop(context);
  const fs::path path = path_of(key);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (!S_ISREG(status.st_mode)) return {};
    return ObjectInfo{key, std::uint64_t(status.st_size), modified_of(status)};
  }
  if (errno != ENOENT && errno != ENOTDIR) throw system_error(errno, "could not stat file \"" + path.string() + "\"");
  require_root();
  return {};
}

void FileStore::make_durable(const std::string& key, const CallContext& context) {
  check_stop(context);
  const fs::path path = path_of(key);
  require_root();
  outage_when_gone([&] {
    File::open(path, O_RDONLY).sync();
    make_directories(path.parent_path());
    sync_directory(path.parent_path());
  });
}

ListPage FileStore::list(const ListRequest& request, const CallContext& context) {
  ListPageBuilder page(request);
  list_directory(root_, "", page, context);
  require_root(); // at the end: one that goes away meanwhile looks empty
  return page.take();
}

void FileStore::remove(const std::string& key, const CallContext& context) {
  check_stop(context);
  const fs::path path = path_of(key);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    throw system_error(errno, "could not remove file \"" + path.string() + "\"");
}

} // namespace dbops::core
