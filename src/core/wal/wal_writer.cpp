#include "core/wal/wal_writer.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/printable.h"
#include "core/wal/page_header.h"

#include <fcntl.h>

namespace dbops::core {

namespace {

constexpr std::size_t read_size = 1 << 20;
constexpr std::size_t first_page_size = 512; // enough for the page header
// A history or label file is a few kilobytes; a segment is at most 1 GiB.
constexpr std::uint64_t max_small_file = 16 << 20;

} // namespace

WalWriter::WalWriter(ObjectStore& store, const Clock& clock, Random& random, WalWriterOptions options)
    : store_(store), clock_(clock), options_(std::move(options)), encoder_(options_.encoding, random) {}

void WalWriter::read_pieces(const File& file, std::uint64_t size, const std::filesystem::path& path,
                            const ByteSink& sink) {
  buffer_.resize(read_size);
  for (std::uint64_t offset = 0; offset < size;) {
    const auto wanted = std::size_t(std::min<std::uint64_t>(buffer_.size(), size - offset));
    const std::size_t count = file.read_at(offset, std::span(buffer_).first(wanted));
    if (count != wanted) throw Error(ErrorKind::io, "file \"" + path.string() + "\" became shorter while it was read");
    sink(ByteView(buffer_).first(count));
    offset += count;
  }
}

WalPutReport WalWriter::put_file(const WalFileName& name, const std::filesystem::path& path,
                                 const CallContext& context) {
  const File file = File::open(path, O_RDONLY);
  const std::uint64_t size = file.size();
  const bool is_wal = name.kind == WalFileKind::segment || name.kind == WalFileKind::partial;
  if (is_wal) {
    Bytes page(first_page_size);
    page.resize(file.read_at(0, page));
    check_segment(page, size, options_.system_identifier, name.segment);
  } else if (size > max_small_file) {
    throw Error(ErrorKind::corrupt, "file \"" + path.string() + "\" is too large to be what its name says");
  }
  const Source source = [&](const ByteSink& sink) { read_pieces(file, size, path, sink); };
  return put(wal_file_key(name), object_kind(name.kind), size, source, context);
}

WalPutReport WalWriter::put_chunk(const WalFileName& segment, const ChunkRange& range, ByteView bytes,
                                  const CallContext& context) {
  if (range.from >= range.to || bytes.size() != range.to - range.from)
    throw std::logic_error("a chunk must have the bytes of its range");
  const Source source = [&](const ByteSink& sink) { sink(bytes); };
  return put(chunk_key(segment, range), ObjectKind::wal_chunk, bytes.size(), source, context);
}

WalPutReport WalWriter::put(const std::string& name, ObjectKind kind, std::uint64_t size, const Source& source,
                            const CallContext& context) {
  const std::string key = cluster_prefix(options_.system_identifier) + name;
  std::unique_ptr<ObjectUpload> upload;
  WalPutReport report{.plaintext_size = size};
  report.object_size = encoder_.begin({kind, options_.system_identifier, name, options_.origin}, size,
                                      clock_.wall_now(), [&](ByteView payload) {
                                        report.object_size += payload.size();
                                        upload->write(payload);
                                      });
  upload = store_.begin_upload(key, std::size_t(report.object_size), context);
  source([this](ByteView piece) { encoder_.write(piece); });
  report.result = upload->finish(encoder_.finish());
  if (report.result == PutResult::exists) require_same_content(key, source, context);
  return report;
}

void WalWriter::require_same_content(const std::string& key, const Source& source, const CallContext& context) const {
  const auto start = store_.get(key, {.offset = 0, .length = max_object_header_size}, context);
  if (!start)
    throw Error(ErrorKind::unavailable, "object \"" + key + "\" of " + store_.describe() +
                                            " was there when it was to be written, and is not there now");
  const ObjectHeader theirs = parse_object_header(*start);
  ContentDigest ours(theirs, options_.encoding.keys);
  source([&](ByteView piece) { ours.update(piece); });
  if (ours.finish() == theirs.digest) return;
  throw Error(ErrorKind::conflict,
              "object \"" + key + "\" of " + store_.describe() + " has other content: it was written by " +
                  printable(theirs.origin) + " at " + iso8601_basic(theirs.created) + ", this is " + options_.origin,
              "Two servers archive to one place under one system identifier. Give the clone or the restored server a "
              "store of its own, or stop the other one.");
}

} // namespace dbops::core
