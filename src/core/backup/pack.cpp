#include "core/backup/pack.h"

#include "core/base/error.h"
#include "core/wal/layout.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::string_view prefix = "pack/";
constexpr std::byte frame_plain{0}, frame_zstd{1};

} // namespace

std::string pack_key(const PackId& id) {
  const std::string hex = to_hex(id);
  return std::string(prefix) + hex.substr(0, 2) + "/" + hex;
}

std::optional<PackId> parse_pack_key(std::string_view key) {
  PackId id;
  if (!key.starts_with(prefix) || key.size() != prefix.size() + 3 + 2 * id.size()) return {};
  const std::string_view hex = key.substr(prefix.size() + 3);
  if (hex.find_first_not_of("0123456789abcdef") != std::string_view::npos) return {};
  std::ranges::copy(from_hex(hex), id.begin());
  return pack_key(id) == key ? std::optional(id) : std::nullopt;
}

PackWriter::PackWriter(ObjectStore& store, const Clock& clock, Random& random, PackOptions options, StoredSink stored)
    : store_(store), clock_(clock), random_(random), options_(std::move(options)), stored_(std::move(stored)),
      zstd_(options_.compression_level), encoder_({.codec = Codec::none,
                                                   .compression_level = options_.compression_level,
                                                   .keys = options_.keys,
                                                   .record_size = pack_record_size},
                                                  random) {
  begin_pack();
}

void PackWriter::begin_pack() {
  content_.clear();
  random_.fill(id_);
}

FrameRef PackWriter::add(ByteView plaintext, const CallContext& context) {
  if (plaintext.size() > max_frame_size) throw std::logic_error("a frame is too large");
  if (content_.size() >= pack_target) flush(context);
  if (content_.empty()) ++filled_;
  const std::size_t offset = content_.size();
  content_.push_back(frame_zstd);
  zstd_.encode(plaintext, content_);
  if (content_.size() - offset > plaintext.size()) {
    content_.resize(offset);
    content_.push_back(frame_plain);
    append(content_, plaintext);
  }
  return {id_, std::uint32_t(offset), std::uint32_t(content_.size() - offset)};
}

void PackWriter::flush(const CallContext& context) {
  if (content_.empty()) return;
  const std::string name = pack_key(id_);
  const std::string key = cluster_prefix(options_.system_identifier) + name;
  const Bytes object = encode_object(encoder_, {ObjectKind::pack, options_.system_identifier, name, options_.origin},
                                     content_, clock_.wall_now());
  // "exists" is our own put, whose answer was lost: nobody else draws the same 16 random bytes.
  store_.put_if_absent(key, object, context);
  stored_({id_, object.size()});
  durable_ = filled_.load();
  begin_pack();
}

Bytes decode_frame(ByteView frame, ZstdFrameDecoder& decoder) {
  if (frame.empty()) throw Error(ErrorKind::corrupt, "a frame is empty");
  const ByteView content = frame.subspan(1);
  if (frame[0] == frame_zstd) return decoder.decode(content, max_frame_size);
  if (frame[0] != frame_plain) throw Error(ErrorKind::corrupt, "a frame has a codec that this version does not know");
  if (content.size() > max_frame_size) throw Error(ErrorKind::corrupt, "a frame is too large");
  return {content.begin(), content.end()};
}

} // namespace dbops::core
