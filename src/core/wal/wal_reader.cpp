#include "core/wal/wal_reader.h"

#include "core/base/error.h"
#include "core/wal/page_header.h"
#include "core/wal/repository.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::uint64_t read_size = 16 << 20; // one request gets a compressed segment of 16 MiB
constexpr std::uint64_t max_file_size = 1 << 30;

// Zeros: recovery takes them for the end of WAL.
void pad(std::uint64_t bytes, const ByteSink& sink) {
  const Bytes zeros(std::size_t(std::min<std::uint64_t>(bytes, 1 << 20)));
  for (; bytes > 0; bytes -= std::min<std::uint64_t>(bytes, zeros.size()))
    sink(ByteView(zeros).first(std::size_t(std::min<std::uint64_t>(bytes, zeros.size()))));
}

} // namespace

WalReader::WalReader(ObjectStore& store, std::uint64_t system_identifier, const KeyRing* keys)
    : store_(store), system_identifier_(system_identifier), keys_(keys) {}

// The rest of an object whose first read_size bytes are in `start`.
Bytes WalReader::read_object(const std::string& key, Bytes start, const CallContext& context) {
  while (start.size() % read_size == 0) {
    const auto more = store_.get(key, {.offset = start.size(), .length = read_size}, context);
    if (!more)
      throw Error(ErrorKind::unavailable,
                  "object \"" + key + "\" of " + store_.describe() + " vanished while it was read");
    if (more->empty()) break;
    append(start, *more);
    if (start.size() > max_file_size + max_file_size / 8)
      throw Error(ErrorKind::corrupt,
                  "object \"" + key + "\" of " + store_.describe() + " is larger than any WAL file");
  }
  return start;
}

bool WalReader::fetch_object(const std::string& name, ObjectKind kind, std::uint64_t limit, const ByteSink& sink,
                             const CallContext& context) {
  const std::string key = cluster_prefix(system_identifier_) + name;
  auto start = store_.get(key, {.offset = 0, .length = read_size}, context);
  if (!start) return false;
  const Bytes object = start->size() < read_size ? std::move(*start) : read_object(key, std::move(*start), context);
  const ObjectHeader header = parse_object_header(object);
  if (header.name != name || header.system_identifier != system_identifier_ || header.kind != kind)
    throw Error(ErrorKind::corrupt, "object \"" + key + "\" of " + store_.describe() + " was written as \"" +
                                        cluster_prefix(header.system_identifier) + header.name + "\"");
  decode_object(object, keys_, limit, sink);
  return true;
}

std::vector<ChunkRange> WalReader::list_chunks(const WalFileName& segment, const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier_);
  ListRequest request;
  request.prefix = root + chunk_prefix(segment);
  std::vector<ChunkRange> chunks;
  do {
    ListPage page = store_.list(request, context);
    for (const ObjectInfo& object : page.objects)
      if (const auto key = parse_wal_key(std::string_view(object.key).substr(root.size())); key && key->chunk)
        chunks.push_back(*key->chunk);
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return chunks;
}

Bytes WalReader::fetch_chunk(const WalFileName& segment, const ChunkRange& chunk, const CallContext& context) {
  const std::string name = chunk_key(segment, chunk);
  Bytes bytes;
  const bool found = fetch_object(
      name, ObjectKind::wal_chunk, chunk.to - chunk.from, [&](ByteView piece) { append(bytes, piece); }, context);
  if (!found)
    throw Error(ErrorKind::unavailable,
                "object \"" + name + "\" of " + store_.describe() + " vanished since it was listed");
  if (bytes.size() != chunk.to - chunk.from)
    throw Error(ErrorKind::corrupt,
                "object \"" + name + "\" of " + store_.describe() + " does not have the size of its name");
  return bytes;
}

bool WalReader::has_later_wal(const WalFileName& segment, const CallContext& context) {
  const std::string root = cluster_prefix(system_identifier_);
  ListRequest request;
  request.prefix = root + "wal/" + segment.timeline + "/";
  // Behind all that belongs to the segment itself: its chunks and its labels. "0" follows "/" in byte order.
  request.start_after = root + chunk_prefix(segment);
  request.start_after.back() = '0';
  request.limit = 10; // the first one decides
  do {
    ListPage page = store_.list(request, context);
    for (const ObjectInfo& object : page.objects)
      if (const auto key = parse_wal_key(std::string_view(object.key).substr(root.size()));
          key && (key->chunk || key->file.kind == WalFileKind::segment || key->file.kind == WalFileKind::partial))
        return true;
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return false;
}

WalFetch WalReader::fetch_chunks(const WalFileName& segment, const std::vector<ChunkRange>& chunks,
                                 const ByteSink& sink, const CallContext& context) {
  const RestorePlan whole_plan = plan_chunks(chunks, max_file_size);
  if (whole_plan.pieces.empty()) return {WalFetchResult::gap};
  const Bytes first = fetch_chunk(segment, whole_plan.pieces.front().chunk, context);
  const std::uint64_t size = parse_segment_header(first).segment_size;
  check_segment(first, size, system_identifier_, segment.segment);
  const RestorePlan plan = plan_chunks(chunks, std::uint32_t(size));
  if (plan.covered < size && has_later_wal(segment, context)) return {WalFetchResult::gap};
  std::uint64_t sent = 0;
  for (const ChunkPiece& piece : plan.pieces) {
    const Bytes bytes = &piece == plan.pieces.data() ? first : fetch_chunk(segment, piece.chunk, context);
    const ByteView wanted = ByteView(bytes).subspan(piece.skip);
    const ByteView taken = wanted.first(std::size_t(std::min<std::uint64_t>(wanted.size(), size - sent)));
    sink(taken);
    sent += taken.size();
  }
  pad(size - sent, sink);
  return {sent == size ? WalFetchResult::whole : WalFetchResult::padded, sent};
}

WalFetch WalReader::fetch(const WalFileName& file, const ByteSink& sink, const CallContext& context) {
  if (fetch_object(wal_file_key(file), object_kind(file.kind), max_file_size, sink, context))
    return {WalFetchResult::whole};
  if (file.kind == WalFileKind::segment) {
    if (const auto chunks = list_chunks(file, context); !chunks.empty())
      return fetch_chunks(file, chunks, sink, context);
    if (has_later_wal(file, context)) return {WalFetchResult::gap};
  }
  require_repository(context);
  return {WalFetchResult::absent};
}

void WalReader::require_repository(const CallContext& context) {
  if (repository_seen_) return;
  repository_seen_ = read_repository(store_, system_identifier_, context).has_value();
  if (!repository_seen_)
    throw Error(ErrorKind::not_found,
                store_.describe() + " holds no repository of system identifier " + std::to_string(system_identifier_),
                "Check the store's URL, and that its file system is mounted.");
}

} // namespace dbops::core
