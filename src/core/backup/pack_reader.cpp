#include "core/backup/pack_reader.h"

#include "core/base/error.h"
#include "core/wal/layout.h"

namespace dbops::core {

namespace {

constexpr std::size_t headers_kept = 4096;
constexpr std::uint64_t max_gap = 64 << 10;  // is read over rather than asked around
constexpr std::uint64_t max_read = 16 << 20; // in one request

// An error in words that say which pack it was.
[[noreturn]] void throw_damaged(const std::string& name, const ObjectStore& store, const std::string& what) {
  throw Error(ErrorKind::corrupt, "\"" + name + "\" of " + store.describe() + ": " + what);
}

} // namespace

std::shared_ptr<const RangedObject> PackReader::header(const PackId& id, const CallContext& context) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = headers_.find(id); found != headers_.end()) return found->second;
  }
  const std::string name = pack_key(id);
  const auto start = store_.get(cluster_prefix(system_identifier_) + name, {0, max_object_header_size}, context);
  if (!start) throw Error(ErrorKind::not_found, "\"" + name + "\" is missing in " + store_.describe());
  auto object = std::make_shared<const RangedObject>(*start, keys_);
  if (object->header().name != name || object->header().system_identifier != system_identifier_ ||
      object->header().kind != ObjectKind::pack)
    throw_damaged(name, store_, "this object belongs elsewhere: its header names \"" + object->header().name + "\"");
  const std::lock_guard lock(mutex_);
  if (headers_.size() >= headers_kept) headers_.clear();
  return headers_.emplace(id, std::move(object)).first->second;
}

// As many frames from the start of `frames` as one request gives; returns how many.
std::size_t PackReader::read_neighbours(std::span<const FrameRef> frames, const FrameSink& sink,
                                        const CallContext& context) {
  const PackId& id = frames[0].pack;
  const std::uint64_t begin = frames[0].offset;
  std::uint64_t end = begin;
  std::size_t count = 0;
  while (count < frames.size() && frames[count].pack == id && frames[count].offset <= end + max_gap &&
         (count == 0 || frames[count].offset + frames[count].length - begin <= max_read)) {
    end = std::max<std::uint64_t>(end, std::uint64_t(frames[count].offset) + frames[count].length);
    ++count;
  }
  const auto object = header(id, context);
  const std::string name = pack_key(id);
  const RangedObject::Range plain{begin, end - begin}, stored = object->stored(plain);
  const auto bytes = store_.get(cluster_prefix(system_identifier_) + name, {stored.offset, stored.length}, context);
  if (!bytes) throw Error(ErrorKind::not_found, "\"" + name + "\" is missing in " + store_.describe());
  bytes_read_ += bytes->size();
  Bytes content;
  try {
    content = object->open(plain, *bytes);
  } catch (const Error& error) {
    throw_damaged(name, store_, error.what());
  }
  ZstdFrameDecoder decoder;
  for (const FrameRef& frame : frames.first(count)) {
    Bytes plaintext;
    try {
      plaintext = decode_frame(ByteView(content).subspan(frame.offset - begin, frame.length), decoder);
    } catch (const Error& error) {
      throw_damaged(name, store_, "offset " + std::to_string(frame.offset) + ": " + error.what());
    }
    sink(frame, plaintext);
  }
  return count;
}

void PackReader::read(std::span<const FrameRef> frames, const FrameSink& sink, const CallContext& context) {
  while (!frames.empty())
    frames = frames.subspan(read_neighbours(frames, sink, context));
}

BlobReader::Frame BlobReader::frame(const FrameRef& ref, const CallContext& context) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = frames_.find(ref); found != frames_.end()) return found->second;
  }
  Frame frame;
  reader_.read(
      std::span(&ref, 1), [&](const FrameRef&, const Bytes& bytes) { frame = std::make_shared<const Bytes>(bytes); },
      context);
  const std::lock_guard lock(mutex_);
  const auto [place, added] = frames_.emplace(ref, frame);
  if (added) order_.push_back(ref);
  if (order_.size() > capacity_) {
    frames_.erase(order_.front());
    order_.pop_front();
  }
  return frame;
}

Bytes BlobReader::read(const BlobRef& blob, const CallContext& context) {
  const Frame bytes = frame(blob.frame, context);
  if (blob.length > bytes->size() || blob.offset > bytes->size() - blob.length)
    throw Error(ErrorKind::corrupt,
                "a reference to \"" + pack_key(blob.frame.pack) + "\" is beyond the end of its frame");
  const auto begin = bytes->begin() + std::ptrdiff_t(blob.offset);
  return {begin, begin + std::ptrdiff_t(blob.length)};
}

} // namespace dbops::core
