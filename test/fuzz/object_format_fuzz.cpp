// Objects come from a store that others can write to: no byte of them is trusted.
#include "core/base/error.h"
#include "core/wal/object_format.h"
#include "core/wal/page_header.h"

#include <algorithm>
#include <optional>

using namespace dbops::core;

namespace {

// The fuzzer does not find a checksum by chance: it is put right, so that what lies behind it is reached.
Bytes with_checksum(ByteView data) {
  Bytes object(data.begin(), data.end());
  if (object.size() < 12) return object;
  const std::size_t size = std::to_integer<std::size_t>(object[10]) | std::to_integer<std::size_t>(object[11]) << 8;
  if (size < 8 || size > object.size()) return object;
  const Digest digest = sha256(ByteView(object).first(size - 8));
  std::copy_n(digest.begin(), 8, object.begin() + std::ptrdiff_t(size - 8));
  return object;
}

std::optional<Bytes> decoded(ByteView object, std::size_t piece_size) {
  static const KeyRing keys = KeyRing::parse("k = " + std::string(64, '1'));
  Bytes plaintext;
  try {
    ObjectDecoder decoder(&keys, 1 << 20, [&](ByteView piece) { append(plaintext, piece); });
    for (ByteView rest = object; !rest.empty(); rest = rest.subspan(std::min(piece_size, rest.size())))
      decoder.write(rest.first(std::min(piece_size, rest.size())));
    decoder.finish();
  } catch (const Error&) {
    return {};
  }
  if (plaintext.size() > 1 << 20) __builtin_trap();
  return plaintext;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes object = with_checksum(std::as_bytes(std::span(data, size)));
  // However it is cut into pieces.
  if (decoded(object, object.size() + 1) != decoded(object, 7)) __builtin_trap();
  try {
    parse_segment_header(object);
    check_segment(object, size, 1, "000000010000000000000001");
  } catch (const Error&) {
  }
  return 0;
}
