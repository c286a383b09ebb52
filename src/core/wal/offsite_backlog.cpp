#include "core/wal/offsite_backlog.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/object_format.h"
#include "core/wal/ready_files.h"

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

constexpr std::uint64_t max_backlog_file = 16384;   // bytes
constexpr std::uint64_t largest_wal_file = 1 << 30; // bytes
constexpr std::size_t copied_at_once = 4 << 20;     // bytes of an object
constexpr std::string_view store_field = "store = ", server_field = "server = ", after_field = "after = ",
                           check_field = "check = ", own_field = "own from = ", revision_field = "revision = ";
constexpr std::string_view no_server = "none"; // as the server: whoever asks next is a stranger to the store

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

// Comes right before all that belongs to the file: its object, its chunks, labels in its segment.
std::string position_before(const WalFileName& file) {
  const std::string key = wal_file_key(file);
  const std::string directory = key.substr(0, key.rfind('/') + 1);
  return directory + (file.kind == WalFileKind::history ? file.timeline : file.segment);
}

// Decodes an object while it is copied.
class Verification {
 public:
  explicit Verification(const KeyRing* keys) : decoder_(std::in_place, keys, largest_wal_file, [](ByteView) {}) {}
  void write(ByteView piece) {
    attempt([&] { decoder_->write(piece); });
  }
  void finish() {
    attempt([&] { decoder_->finish(); });
  }

 private:
  // What was written with a key that is gone from here is copied as it is.
  template <class Work>
  void attempt(const Work& work) {
    if (!decoder_) return;
    try {
      work();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::key_missing) throw;
      decoder_.reset();
    }
  }
  std::optional<ObjectDecoder> decoder_;
};

} // namespace

OffsiteBacklogFile::OffsiteBacklogFile(fs::path data_directory)
    : directory_(std::move(data_directory)), path_(directory_ / "dbops.offsite_backlog") {}

std::optional<OffsiteBacklogFile::Record> OffsiteBacklogFile::parse(const std::string& text) {
  Record record;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(store_field)) record.store = line.substr(store_field.size());
    if (line.starts_with(server_field)) record.server = line.substr(server_field.size());
    if (line.starts_with(after_field)) record.after = line.substr(after_field.size());
    if (line.starts_with(check_field)) record.check = line.substr(check_field.size()) == "yes";
    if (line.starts_with(own_field)) record.own_from = line.substr(own_field.size());
    if (line.starts_with(revision_field))
      std::from_chars(line.data() + revision_field.size(), line.data() + line.size(), record.revision);
  }
  if (record.store.empty()) return {};
  return record;
}

bool OffsiteBacklogFile::Record::is(const OffsiteBacklog& seen) const {
  return store == seen.store && revision == seen.revision && after == seen.after && check == seen.check;
}

std::optional<OffsiteBacklogFile::Record> OffsiteBacklogFile::read_record() const {
  const auto file = File::open_if_exists(path_, O_RDONLY);
  if (!file) return {};
  Bytes bytes(max_backlog_file);
  bytes.resize(file->read_at(0, bytes));
  return parse(std::string(as_text(bytes)));
}

std::optional<OffsiteBacklogFile::Record> OffsiteBacklogFile::read_record(const std::string& store) const {
  auto record = read_record();
  if (!record || record->store != store) return {};
  return record;
}

std::optional<OffsiteBacklog> OffsiteBacklogFile::read(const std::string& store) const {
  const auto record = read_record(store);
  if (!record || (!record->after && !record->check)) return {};
  return OffsiteBacklog{.store = store,
                        .after = record->after,
                        .check = record->check,
                        .own_from = record->own_from,
                        .revision = record->revision};
}

void OffsiteBacklogFile::write(const Record& record) const {
  const fs::path temporary = path_.string() + ".tmp";
  std::string text = "# dbops: what the offsite repository may lack; copied from the other one when it answers.\n";
  text.append(store_field).append(record.store).append("\n");
  text.append(server_field).append(record.server).append("\n");
  if (record.after) text.append(after_field).append(*record.after).append("\n");
  if (record.check) text.append(check_field).append("yes\n");
  if (record.check && !record.own_from.empty()) text.append(own_field).append(record.own_from).append("\n");
  text.append(revision_field).append(std::to_string(record.revision)).append("\n");
  File file = File::open(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  file.write(as_bytes(text));
  file.sync();
  file.close();
  if (::rename(temporary.c_str(), path_.c_str()) != 0)
    throw system_error(errno, "could not rename file \"" + temporary.string() + "\"");
  sync_directory(directory_);
}

bool OffsiteBacklogFile::require_check(const std::string& store, const std::string& server, Asker asker,
                                       const std::function<std::string()>& own_from) {
  const auto is_known = [&](const std::optional<Record>& record) {
    if (!record || record->store != store) return false;
    return record->server == server || (asker == Asker::other && record->server == no_server);
  };
  if (is_known(read_record())) return false;
  const DirectoryLock lock(directory_);
  const auto before = read_record();
  if (is_known(before)) return false;
  Record record{.store = store, .server = {}, .after = {}, .own_from = {}};
  if (own_from) record.own_from = own_from();
  if (before && before->store == store) {
    record.after = before->after;
    if (before->check)
      record.own_from = std::min(record.own_from, before->own_from); // it has put something there since
  }
  record.server = asker == Asker::archiver ? server : no_server;
  record.check = true;
  record.revision = before ? before->revision + 1 : 0;
  write(record);
  return true;
}

bool OffsiteBacklogFile::forget_server(const WalFileName& next) {
  const auto forgets = [](const std::optional<Record>& record) {
    return record && (record->server != no_server || !record->check);
  };
  if (!forgets(read_record())) return false;
  const DirectoryLock lock(directory_);
  auto record = read_record();
  if (!forgets(record)) return false;
  record->server = no_server;
  record->check = true; // by whoever sees the store first
  ++record->revision;
  try {
    write(*record);
  } catch (const Error&) {
    // Without space: no record says as much. When files were let go, all behind the first of them is compared anyway.
    if (record->after && position_before(next) < *record->after) throw;
    if (record->after) return false;
    if (::unlink(path_.c_str()) != 0) throw;
    sync_directory(directory_);
  }
  return true;
}

void OffsiteBacklogFile::add(const std::string& store, const WalFileName& file) {
  const DirectoryLock lock(directory_);
  const std::string position = position_before(file);
  const auto before = read_record();
  Record record{.store = store, .server = {}, .after = {}, .own_from = {}};
  if (before && before->store == store) record = *before;
  record.after = std::min(record.after.value_or(position), position);
  record.revision = before ? before->revision + 1 : 0;
  write(record);
}

bool OffsiteBacklogFile::advance(const OffsiteBacklog& seen, const std::string& position) {
  const DirectoryLock lock(directory_);
  auto record = read_record();
  if (!record || !record->is(seen)) return false;
  record->after = position;
  record->check = false;
  write(*record);
  return true;
}

bool OffsiteBacklogFile::clear(const OffsiteBacklog& seen) {
  const DirectoryLock lock(directory_);
  auto record = read_record();
  if (!record || !record->is(seen)) return false;
  record->after.reset();
  record->check = false;
  write(*record);
  return true;
}

std::string first_own_position(const fs::path& archive_status, const SegmentId& current, SegmentSize size) {
  std::string first = position_before(*parse_wal_file_name(segment_name(current, size)));
  visit_ready_files(archive_status, [&](const WalFileName& file) { first = std::min(first, position_before(file)); });
  return first;
}

RepositoryCopier::RepositoryCopier(ObjectStore& from, ObjectStore& to, std::uint64_t system_identifier,
                                   const KeyRing* keys)
    : from_(from), to_(to), root_(cluster_prefix(system_identifier)), keys_(keys) {}

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

std::string RepositoryCopier::beginning(const std::string& own_from, const CallContext& context) const {
  ListRequest request;
  request.prefix = root_ + "wal/";
  do {
    ListPage page = to_.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const auto key = parse_wal_key(std::string_view(object.key).substr(root_.size()));
      if (!key || key->file.kind != WalFileKind::segment) continue;
      std::string position = position_before(key->file);
      return own_from.empty() || position < own_from ? position : std::string();
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return {};
}

Bytes RepositoryCopier::read(const ObjectInfo& object, const ByteRange& range, const CallContext& context) const {
  auto bytes = from_.get(object.key, range, context);
  if (!bytes || bytes->size() != range.length)
    throw Error(ErrorKind::unavailable,
                "object \"" + object.key + "\" of " + from_.describe() + " is not what it was when it was listed");
  return std::move(*bytes);
}

void RepositoryCopier::copy_object(const ObjectInfo& object, const CallContext& context) {
  Digest ours{};
  const auto upload = to_.begin_upload(object.key, 0, context);
  Verification verification(keys_);
  try {
    for (std::uint64_t offset = 0; offset < object.size; offset += copied_at_once) {
      const Bytes piece = read(
          object, {.offset = offset, .length = std::min<std::uint64_t>(copied_at_once, object.size - offset)}, context);
      if (offset == 0) ours = parse_object_header(piece).digest;
      verification.write(piece);
      upload->write(piece);
    }
    verification.finish();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt) throw;
    throw Error(ErrorKind::unavailable,
                "object \"" + object.key + "\" of " + from_.describe() + " is not copied: " + error.what(),
                "It is damaged there. Restore it from elsewhere, or remove it and take a base backup.");
  }
  if (upload->finish({}) == PutResult::created) return;
  const auto start = to_.get(object.key, {.offset = 0, .length = max_object_header_size}, context);
  if (!start || parse_object_header(*start).digest != ours)
    throw Error(ErrorKind::conflict, "object \"" + object.key + "\" has one content in " + from_.describe() +
                                         " and another in " + to_.describe());
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
      copy_object(object, context);
      step.bytes += object.size;
      ++step.copied;
    }
    step.position = object.key.substr(root_.size());
  }
  return step;
}

} // namespace dbops::core
