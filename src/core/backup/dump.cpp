#include "core/backup/dump.h"

#include "core/backup/catalogue.h"
#include "core/base/error.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace dbops::core {

namespace {

using Json = nlohmann::ordered_json;

constexpr int dump_version = 1;
constexpr int label_tries = 100; // dumps that were begun in the same second, or by a clock that is ahead

[[noreturn]] void damaged(const std::string& what) {
  throw Error(ErrorKind::corrupt, "the manifest of a dump is damaged: " + what);
}

template <class Value>
Value get(const Json& json, const char* name) {
  try {
    return json.at(name).get<Value>();
  } catch (const Json::exception&) {
    damaged(std::string("field \"") + name + "\"");
  }
}

// 64-bit numbers are text: those beyond 2^53 do not survive every JSON reader.
std::uint64_t number_of(const Json& json, const char* name) {
  const auto text = get<std::string>(json, name);
  if (text.empty() || text.size() > 19 || text.find_first_not_of("0123456789") != std::string::npos)
    damaged(std::string("field \"") + name + "\"");
  return std::stoull(text);
}

WallTime time_of(const Json& json, const char* name) {
  const auto text = get<std::string>(json, name);
  const auto time = is_backup_label(text)
                        ? parse_iso8601(text.substr(0, 4) + "-" + text.substr(4, 2) + "-" + text.substr(6, 5) + ":" +
                                        text.substr(11, 2) + ":" + text.substr(13))
                        : std::nullopt;
  if (!time) damaged(std::string("field \"") + name + "\"");
  return *time;
}

bool is_file_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

// Names below dump/ of the label, and sizes.
std::map<std::string, std::uint64_t> objects_of(const BackupRepository& repository, const std::string& label,
                                                const CallContext& context) {
  std::map<std::string, std::uint64_t> objects;
  const std::size_t root = repository.key("").size();
  ListRequest request;
  request.prefix = repository.key(dump_prefix(label));
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      objects.emplace(object.key.substr(root), object.size);
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return objects;
}

Bytes read_piece(const BackupRepository& repository, const DumpHead& head, std::uint32_t number, std::uint64_t size,
                 const CallContext& context, Digest* digest = nullptr) {
  const std::string name = dump_piece_key(head.label, number);
  auto piece = repository.get(name, ObjectKind::dump_piece, dump_piece_size, context, digest);
  if (!piece) throw Error(ErrorKind::not_found, "\"" + name + "\" is missing in " + repository.store.describe());
  if (piece->size() != size) throw Error(ErrorKind::corrupt, "\"" + name + "\" is of another size");
  return std::move(*piece);
}

std::uint64_t piece_size(const DumpFile& file, std::uint32_t number) {
  return std::min<std::uint64_t>(dump_piece_size, file.size - std::uint64_t(number) * dump_piece_size);
}

} // namespace

std::string_view to_string(DumpFormat format) noexcept {
  return format == DumpFormat::custom ? "custom" : "directory";
}

std::string encode_dump_head(const DumpHead& head) {
  Json json = {{"dbops_dump", dump_version},
               {"label", head.label},
               {"system_identifier", std::to_string(head.system_identifier)},
               {"database", head.database},
               {"format", to_string(head.format)},
               {"server_version", head.server_version},
               {"program", head.program},
               {"tables", head.tables},
               {"schemas", head.schemas},
               {"user_label", head.user_label},
               {"annotations", head.annotations},
               {"started", iso8601_basic(head.started)},
               {"finished", iso8601_basic(head.finished)},
               {"content", to_hex(head.content)},
               {"bytes", std::to_string(head.bytes)},
               {"stored_bytes", std::to_string(head.stored_bytes)},
               {"files", Json::array()}};
  for (const DumpFile& file : head.files)
    json["files"].push_back(
        {{"name", file.name}, {"size", std::to_string(file.size)}, {"first_piece", file.first_piece}});
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

DumpHead decode_dump_head(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("dbops_dump")) damaged("it is not what dbops wrote");
  if (get<int>(json, "dbops_dump") != dump_version)
    throw Error(ErrorKind::configuration, "the dump has a newer format", "Use a newer version of dbops.");
  DumpHead head;
  head.label = get<std::string>(json, "label");
  if (!is_backup_label(head.label)) damaged("field \"label\"");
  head.system_identifier = number_of(json, "system_identifier");
  head.database = get<std::string>(json, "database");
  const auto format = get<std::string>(json, "format");
  if (format != "custom" && format != "directory") damaged("field \"format\"");
  head.format = format == "custom" ? DumpFormat::custom : DumpFormat::directory;
  head.server_version = get<std::uint32_t>(json, "server_version");
  head.program = get<std::string>(json, "program");
  head.tables = get<std::vector<std::string>>(json, "tables");
  head.schemas = get<std::vector<std::string>>(json, "schemas");
  head.user_label = get<std::string>(json, "user_label");
  head.annotations = get<std::map<std::string, std::string>>(json, "annotations");
  head.started = time_of(json, "started");
  head.finished = time_of(json, "finished");
  const Bytes content = from_hex(get<std::string>(json, "content"));
  if (content.size() != head.content.size()) damaged("field \"content\"");
  std::ranges::copy(content, head.content.begin());
  head.bytes = number_of(json, "bytes");
  head.stored_bytes = number_of(json, "stored_bytes");
  const Json files = get<Json>(json, "files");
  if (!files.is_array()) damaged("field \"files\"");
  std::uint64_t next = 0;
  for (const Json& entry : files) {
    DumpFile file{get<std::string>(entry, "name"), number_of(entry, "size"), get<std::uint32_t>(entry, "first_piece")};
    if (!is_file_name(file.name) || file.first_piece != next || file.size > std::uint64_t(1) << 50)
      damaged("field \"files\"");
    next += file.pieces();
    head.files.push_back(std::move(file));
  }
  if (head.format == DumpFormat::custom && head.files.size() != 1) damaged("field \"files\"");
  return head;
}

std::string dump_prefix(std::string_view label) {
  return "dump/" + std::string(label) + "/";
}

std::string dump_head_key(std::string_view label) {
  return dump_prefix(label) + "manifest";
}

std::string dump_begun_key(std::string_view label) {
  return dump_prefix(label) + "begun";
}

std::string dump_piece_key(std::string_view label, std::uint32_t number) {
  return dump_prefix(label) + "pieces/" + hex_field(number, 8) + ".zst";
}

DumpWriter::DumpWriter(const BackupRepository& repository, DumpHead head, unsigned threads, const CallContext& context)
    : repository_(repository), head_(std::move(head)), threads_(std::max(1U, threads)), context_(context),
      pool_(threads_) {
  head_.system_identifier = repository.system_identifier;
  head_.started = repository.clock.wall_now();
  for (int tries = 0;; ++tries) {
    head_.label = iso8601_basic(head_.started + std::chrono::seconds(tries));
    std::array<std::byte, 16> unique{}; // so that what another one wrote is not taken for this one's
    repository.random.fill(unique);
    const std::string begun =
        Json({{"label", head_.label}, {"origin", repository.origin}, {"id", to_hex(unique)}}).dump();
    try {
      repository.put(dump_begun_key(head_.label), ObjectKind::backup_event, as_bytes(begun), context);
      return;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::conflict || tries == label_tries) throw;
    }
  }
}

void DumpWriter::begin_file(std::string name) {
  end_file();
  head_.files.push_back({std::move(name), 0, pieces_});
}

void DumpWriter::write(ByteView bytes) {
  bytes_ += bytes.size();
  head_.files.back().size += bytes.size();
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), dump_piece_size - piece_.size());
    append(piece_, bytes.first(count));
    bytes = bytes.subspan(count);
    if (piece_.size() == dump_piece_size) store_piece();
  }
}

void DumpWriter::end_file() {
  if (!piece_.empty()) store_piece();
}

void DumpWriter::store_piece() {
  while (storing_.size() >= threads_)
    take_stored();
  storing_.push_back(pool_.submit(
      [this, name = dump_piece_key(head_.label, pieces_++), piece = std::move(piece_)](const std::stop_token&) {
        Stored stored;
        stored.size = repository_.put(name, ObjectKind::dump_piece, piece, context_, &stored.digest);
        return stored;
      }));
  piece_ = {};
}

void DumpWriter::take_stored() {
  std::future<Stored> first = std::move(storing_.front());
  storing_.pop_front();
  const Stored stored = first.get();
  head_.stored_bytes += stored.size;
  digests_.push_back(stored.digest);
}

DumpHead DumpWriter::finish() {
  end_file();
  while (!storing_.empty())
    take_stored();
  head_.finished = repository_.clock.wall_now();
  head_.bytes = bytes_;
  head_.content = digest_of_parts(digests_);
  const auto require_begun = [this] {
    if (!repository_.store.head(repository_.key(dump_begun_key(head_.label)), context_))
      throw Error(ErrorKind::conflict, "expiry has taken this dump for aborted, and removed it", "Start it again.");
  };
  require_begun();
  repository_.put(dump_head_key(head_.label), ObjectKind::dump_head, as_bytes(encode_dump_head(head_)), context_);
  require_begun();
  return head_;
}

void read_dump_file(const BackupRepository& repository, const DumpHead& head, const DumpFile& file, unsigned threads,
                    const std::function<void(ByteView)>& sink, const CallContext& context) {
  ThreadPool pool(std::max(1U, threads));
  std::deque<std::future<Bytes>> reading;
  std::uint32_t next = 0;
  for (std::uint32_t given = 0; given < file.pieces(); ++given) {
    for (; next < file.pieces() && reading.size() <= threads; ++next)
      reading.push_back(pool.submit([&, number = next](const std::stop_token&) {
        return read_piece(repository, head, file.first_piece + number, piece_size(file, number), context);
      }));
    const Bytes piece = reading.front().get();
    reading.pop_front();
    sink(piece);
  }
}

std::vector<DumpEntry> read_dumps(const BackupRepository& repository, unsigned threads, const CallContext& context) {
  std::vector<std::string> labels;
  ListRequest request;
  request.prefix = repository.key("dump/");
  request.one_level = true;
  do {
    ListPage page = repository.store.list(request, context);
    for (const std::string& prefix : page.prefixes) {
      std::string label = prefix.substr(request.prefix.size());
      label.pop_back();
      if (is_backup_label(label)) labels.push_back(std::move(label));
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());

  const auto read = [&](const std::string& label) {
    DumpEntry entry{.label = label};
    try {
      const auto content = repository.get(dump_head_key(label), ObjectKind::dump_head, max_head_size, context);
      if (content) entry.head = decode_dump_head(as_text(*content));
      if (entry.head && entry.head->label != label)
        throw Error(ErrorKind::corrupt, "it is the manifest of another dump");
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::key_missing &&
          error.kind() != ErrorKind::key_wrong && error.kind() != ErrorKind::configuration)
        throw;
      entry.head.reset();
      entry.problem = error.what();
      entry.hint = error.hint();
      if (is_key_problem(error.kind())) entry.key_problem = error.kind();
    }
    return entry;
  };
  ThreadPool pool(std::max<std::size_t>(1, std::min<std::size_t>(threads, labels.size())));
  std::vector<std::future<DumpEntry>> reading;
  reading.reserve(labels.size());
  for (const std::string& label : labels)
    reading.push_back(pool.submit([&read, label](const std::stop_token&) { return read(label); }));
  std::vector<DumpEntry> entries;
  for (auto& entry : reading)
    entry.wait();
  for (auto& entry : reading)
    entries.push_back(entry.get());
  return entries;
}

std::vector<std::string> damage_of_dump(const BackupRepository& repository, const DumpHead& head, bool deep,
                                        unsigned threads, const CallContext& context) {
  std::vector<std::string> damage;
  const auto there = objects_of(repository, head.label, context);
  std::uint64_t stored = 0;
  for (const DumpFile& file : head.files)
    for (std::uint32_t i = 0; i < file.pieces(); ++i) {
      const auto piece = there.find(dump_piece_key(head.label, file.first_piece + i));
      if (piece == there.end())
        damage.push_back("\"" + dump_piece_key(head.label, file.first_piece + i) + "\" is missing");
      else
        stored += piece->second;
    }
  if (damage.empty() && stored != head.stored_bytes) damage.emplace_back("its pieces are of another size");
  if (!deep) return damage;
  for (const DumpFile& file : head.files)
    try {
      read_dump_file(
          repository, head, file, threads, [](ByteView) {}, context);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found) throw;
      damage.emplace_back("file \"" + file.name + "\": " + error.what());
    }
  return damage;
}

} // namespace dbops::core
