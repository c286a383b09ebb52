#include "core/wal/repository_copier.h"

#include "core/base/error.h"
#include "core/wal/layout.h"

#include <algorithm>
#include <stdexcept>

namespace dbops::core {

namespace {

constexpr std::uint64_t largest_wal_file = 1 << 30; // bytes
constexpr std::size_t copied_at_once = 4 << 20;     // bytes of an object

// One object, not the store.
class Unreadable : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

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
      if (error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::key_wrong) throw Unreadable(error.what());
      if (error.kind() != ErrorKind::key_missing) throw;
      decoder_.reset();
    }
  }
  std::optional<ObjectDecoder> decoder_;
};

ObjectHeader header_of(ByteView start) {
  try {
    return parse_object_header(start);
  } catch (const Error& error) {
    throw Unreadable(error.what());
  }
}

// All of a cluster's WAL but chunks. name: below the cluster's prefix.
bool is_copied(std::string_view name) {
  const auto key = parse_wal_key(name);
  return key ? !key->chunk : parse_remnant_key(name).has_value();
}

// Comes right before all that belongs to the segment: its object, its chunks, labels in it.
std::string position_before(const WalFileName& segment) {
  const std::string key = wal_file_key(segment);
  return key.substr(0, key.rfind('/') + 1) + segment.segment;
}

} // namespace

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
      if (is_copied(std::string_view(object.key).substr(root_.size()))) keys.push_back(std::move(object.key));
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

// An error of input is one of the object only when the store answers otherwise.
void RepositoryCopier::require_answer(const Error& failure, const CallContext& context) const {
  try {
    ListRequest request;
    request.prefix = root_ + "wal/";
    request.limit = 1;
    (void)from_.list(request, context);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::io) throw;
    throw Error(ErrorKind::unavailable, failure.what(), failure.hint());
  }
}

// What the first repository cannot give of one object, whatever is asked of it otherwise.
Bytes RepositoryCopier::read(const ObjectInfo& object, const ByteRange& range, const CallContext& context) const {
  std::optional<Bytes> bytes;
  try {
    bytes = from_.get(object.key, range, context);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::io && error.kind() != ErrorKind::access_denied && error.kind() != ErrorKind::corrupt)
      throw;
    if (error.kind() == ErrorKind::io) require_answer(error, context);
    throw Unreadable(error.what());
  }
  if (!bytes || bytes->size() != range.length)
    throw Error(ErrorKind::unavailable,
                "object \"" + object.key + "\" of " + from_.describe() + " is not what it was when it was listed");
  return std::move(*bytes);
}

std::optional<DamagedObject> RepositoryCopier::copy_object(const ObjectInfo& object, const CallContext& context) {
  Digest ours{};
  const auto upload = to_.begin_upload(object.key, 0, context);
  Verification verification(keys_);
  try {
    for (std::uint64_t offset = 0; offset < object.size; offset += copied_at_once) {
      const Bytes piece = read(
          object, {.offset = offset, .length = std::min<std::uint64_t>(copied_at_once, object.size - offset)}, context);
      if (offset == 0) ours = header_of(piece).digest;
      verification.write(piece);
      upload->write(piece);
    }
    verification.finish();
  } catch (const Unreadable& error) {
    return DamagedObject{.name = object.key.substr(root_.size()),
                         .problem = "object \"" + object.key + "\" of " + from_.describe() +
                                    " is not copied: " + error.what()};
  }
  if (upload->finish({}) == PutResult::created) return {};
  const auto start = to_.get(object.key, {.offset = 0, .length = max_object_header_size}, context);
  if (!start || parse_object_header(*start).digest != ours)
    throw Error(ErrorKind::conflict, "object \"" + object.key + "\" has one content in " + from_.describe() +
                                         " and another in " + to_.describe());
  return {};
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
    const bool wanted =
        is_copied(std::string_view(object.key).substr(root_.size())) && !std::ranges::binary_search(there, object.key);
    if (wanted && step.copied + step.damaged.size() == limit) {
      step.complete = false;
      return step;
    }
    if (wanted) {
      if (auto damaged = copy_object(object, context)) {
        step.damaged.push_back(std::move(*damaged));
      } else {
        step.bytes += object.size;
        ++step.copied;
      }
    }
    step.position = object.key.substr(root_.size());
  }
  return step;
}

std::vector<DamagedObject> RepositoryCopier::copy_again(const std::vector<std::string>& names,
                                                        const CallContext& context) {
  std::vector<DamagedObject> still;
  for (const std::string& name : names) {
    auto object = from_.head(root_ + name, context);
    if (!object || to_.head(root_ + name, context)) continue;
    object->key = root_ + name;
    if (auto damaged = copy_object(*object, context)) still.push_back(std::move(*damaged));
  }
  return still;
}

} // namespace dbops::core
