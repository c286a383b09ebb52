// Objects come from a store that others can write to: no byte of them is trusted.
#include "core/base/error.h"
#include "core/wal/object_format.h"
#include "core/wal/page_header.h"

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

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const KeyRing keys = KeyRing::parse("k = " + std::string(64, '1'));
  const Bytes object = with_checksum(std::as_bytes(std::span(data, size)));
  try {
    std::uint64_t received = 0;
    decode_object(object, &keys, 1 << 20, [&](ByteView piece) { received += piece.size(); });
    if (received > 1 << 20) __builtin_trap();
  } catch (const Error&) {
  }
  try {
    parse_segment_header(object);
    check_segment(object, size, 1, "000000010000000000000001");
  } catch (const Error&) {
  }
  return 0;
}
