#include "core/wal/wal_writer.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/printable.h"
#include "core/wal/page_header.h"
#include "core/wal/wal_file.h"

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
    if (count != wanted) {
      require_not_recycled(file, path);
      throw Error(ErrorKind::io, "file \"" + path.string() + "\" became shorter while it was read");
    }
    sink(ByteView(buffer_).first(count));
    offset += count;
  }
  // A file that was acknowledged without this store is recycled although it is on its way. What was sent of it never
  // becomes an object: an upload is finished after this.
  require_not_recycled(file, path);
}

File WalWriter::open_checked(const WalFileName& name, const std::filesystem::path& path) const {
  File file = open_wal_file(path);
  const std::uint64_t size = file.size();
  const bool is_wal = name.kind == WalFileKind::segment || name.kind == WalFileKind::partial;
  if (is_wal) {
    Bytes page(first_page_size);
    page.resize(file.read_at(0, page));
    check_segment(page, size, options_.system_identifier, name.segment);
  } else if (size > max_small_file) {
    throw Error(ErrorKind::corrupt, "file \"" + path.string() + "\" is too large to be what its name says");
  }
  return file;
}

WalWriter::Content WalWriter::content_of(const File& file, const std::filesystem::path& path) {
  const std::uint64_t size = file.size();
  return {.size = size,
          .source = [this, size, &file, &path](const ByteSink& sink) { read_pieces(file, size, path, sink); }};
}

WalPutReport WalWriter::put_file(const WalFileName& name, const std::filesystem::path& path,
                                 const CallContext& context) {
  const File file = open_checked(name, path);
  const Content content = content_of(file, path);
  if (name.kind != WalFileKind::partial) return put(wal_file_key(name), object_kind(name.kind), content, context);
  const Attempt attempt = try_put(wal_file_key(name), ObjectKind::wal_partial, content, context);
  return attempt.theirs ? put_remnant(name, content, context) : attempt.report;
}

WalPutReport WalWriter::put_remnant(const WalFileName& name, const std::filesystem::path& path,
                                    const CallContext& context) {
  const File file = open_checked(name, path);
  return put_remnant(name, content_of(file, path), context);
}

WalPutReport WalWriter::put_remnant(const WalFileName& name, const Content& content, const CallContext& context) {
  return put(remnant_key(name, digest_of(content.source)), ObjectKind::wal_partial, content, context);
}

WalPutReport WalWriter::put_chunk(const WalFileName& segment, const ChunkRange& range, ByteView bytes,
                                  const CallContext& context) {
  if (range.from >= range.to || bytes.size() != range.to - range.from)
    throw std::logic_error("a chunk must have the bytes of its range");
  const Content content{.size = bytes.size(), .source = [&](const ByteSink& sink) { sink(bytes); }};
  return put(chunk_key(segment, range), ObjectKind::wal_chunk, content, context);
}

WalWriter::Attempt WalWriter::try_put(const std::string& name, ObjectKind kind, const Content& content,
                                      const CallContext& context) {
  const std::string key = cluster_prefix(options_.system_identifier) + name;
  std::unique_ptr<ObjectUpload> upload;
  Attempt attempt{.report = {.plaintext_size = content.size}, .theirs = {}};
  WalPutReport& report = attempt.report;
  report.object_size = encoder_.begin({kind, options_.system_identifier, name, options_.origin}, content.size,
                                      clock_.wall_now(), [&](ByteView payload) {
                                        report.object_size += payload.size();
                                        upload->write(payload);
                                      });
  upload = store_.begin_upload(key, std::size_t(report.object_size), context);
  content.source([this](ByteView piece) { encoder_.write(piece); });
  report.result = upload->finish(encoder_.finish());
  if (report.result == PutResult::exists) attempt.theirs = header_of_other(key, content.source, context);
  return attempt;
}

WalPutReport WalWriter::put(const std::string& name, ObjectKind kind, const Content& content,
                            const CallContext& context) {
  const Attempt attempt = try_put(name, kind, content, context);
  if (attempt.theirs) refuse(name, *attempt.theirs);
  return attempt.report;
}

bool WalWriter::is_stored(const WalFileName& file, const std::filesystem::path& path, const CallContext& context) {
  const std::string name = wal_file_key(file);
  const std::string key = cluster_prefix(options_.system_identifier) + name;
  if (!store_.head(key, context)) return false;
  const File wal = open_checked(file, path);
  if (const auto theirs = header_of_other(key, content_of(wal, path).source, context)) refuse(name, *theirs);
  store_.make_durable(key, context);
  return true;
}

void WalWriter::refuse(const std::string& name, const ObjectHeader& theirs) const {
  throw Error(ErrorKind::conflict,
              "object \"" + cluster_prefix(options_.system_identifier) + name + "\" of " + store_.describe() +
                  " has other content: it was written by " + printable(theirs.origin) + " at " +
                  iso8601_basic(theirs.created) + ", this is " + options_.origin,
              "Two servers archive to one place under one system identifier. Give the clone or the restored server a "
              "store of its own, or stop the other one.");
}

// Absent: what is there has the same content.
std::optional<ObjectHeader> WalWriter::header_of_other(const std::string& key, const Source& source,
                                                       const CallContext& context) const {
  const auto start = store_.get(key, {.offset = 0, .length = max_object_header_size}, context);
  if (!start)
    throw Error(ErrorKind::unavailable, "object \"" + key + "\" of " + store_.describe() +
                                            " was there when it was to be written, and is not there now");
  ObjectHeader theirs = parse_object_header(*start);
  ContentDigest ours(theirs, options_.encoding.keys);
  source([&](ByteView piece) { ours.update(piece); });
  if (ours.finish() == theirs.digest) return {};
  return theirs;
}

// As an object would carry it that is written now.
Digest WalWriter::digest_of(const Source& source) const {
  ObjectHeader header;
  if (options_.encoding.keys != nullptr) {
    header.cipher = Cipher::aes_256_gcm;
    header.key_id = options_.encoding.keys->current().id();
  }
  ContentDigest digest(header, options_.encoding.keys);
  source([&](ByteView piece) { digest.update(piece); });
  return digest.finish();
}

} // namespace dbops::core
