#include "core/wal/offsite_backlog.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/layout.h"
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

constexpr std::uint64_t max_backlog_file = 64 << 10; // bytes
constexpr std::string_view store_field = "store = ", server_field = "server = ", after_field = "after = ",
                           check_field = "check = ", own_field = "own from = ", revision_field = "revision = ",
                           damaged_field = "damaged = ";
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
    if (line.starts_with(damaged_field)) record.damaged.push_back(line.substr(damaged_field.size()));
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
  for (const std::string& key : record.damaged)
    text.append(damaged_field).append(key).append("\n");
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
    record.damaged = before->damaged;
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

void OffsiteBacklogFile::Record::add_damaged(const std::vector<std::string>& keys) {
  for (const std::string& key : keys)
    if (const auto place = std::ranges::lower_bound(damaged, key); place == damaged.end() || *place != key)
      damaged.insert(place, key);
  if (damaged.size() > max_damaged)
    throw Error(ErrorKind::unavailable,
                "more than " + std::to_string(max_damaged) +
                    " objects that the offsite store lacks are damaged in the " + "first one, \"" + damaged.front() +
                    "\" among them",
                "Look after the first store: dbops verify names all that is damaged there.");
}

bool OffsiteBacklogFile::advance(const OffsiteBacklog& seen, const std::string& position,
                                 const std::vector<std::string>& damaged) {
  const DirectoryLock lock(directory_);
  auto record = read_record();
  if (!record || !record->is(seen)) return false;
  record->after = position;
  record->check = false;
  record->add_damaged(damaged);
  write(*record);
  return true;
}

bool OffsiteBacklogFile::clear(const OffsiteBacklog& seen, const std::vector<std::string>& damaged) {
  const DirectoryLock lock(directory_);
  auto record = read_record();
  if (!record || !record->is(seen)) return false;
  record->after.reset();
  record->check = false;
  record->add_damaged(damaged);
  write(*record);
  return true;
}

std::vector<std::string> OffsiteBacklogFile::damaged(const std::string& store) const {
  const auto record = read_record(store);
  return record ? record->damaged : std::vector<std::string>();
}

void OffsiteBacklogFile::tried_again(const std::string& store, const std::vector<std::string>& tried,
                                     const std::vector<std::string>& still) {
  const DirectoryLock lock(directory_);
  auto record = read_record(store);
  if (!record) return;
  const std::size_t before = record->damaged.size();
  std::erase_if(record->damaged, [&](const std::string& key) {
    return std::ranges::count(tried, key) != 0 && std::ranges::count(still, key) == 0;
  });
  if (record->damaged.size() != before) write(*record);
}

std::string first_own_position(const fs::path& archive_status, const SegmentId& current, SegmentSize size) {
  std::string first = position_before(*parse_wal_file_name(segment_name(current, size)));
  visit_ready_files(archive_status, [&](const WalFileName& file) { first = std::min(first, position_before(file)); });
  return first;
}

std::optional<SegmentId> first_lacking_segment(const std::string& position, SegmentSize size) {
  constexpr std::size_t name_size = 24;
  // "wal/00000001/00000000/" and the segment's name; a label of the segment or a .partial comes before the segment.
  constexpr std::size_t directory_size = 22;
  if (position.size() < directory_size + name_size || !position.starts_with("wal/")) return {};
  auto id = parse_segment_name(std::string_view(position).substr(directory_size, name_size), size);
  if (!id) return {};
  const auto key = parse_wal_key(position);
  if (key && !key->chunk && key->file.kind == WalFileKind::segment) ++id->number;
  return id;
}

} // namespace dbops::core
