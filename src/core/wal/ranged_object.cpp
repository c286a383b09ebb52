#include "core/wal/ranged_object.h"

#include "core/base/error.h"
#include "core/wal/object_header.h"

#include <algorithm>

namespace dbops::core {

RangedObject::RangedObject(ByteView start, const KeyRing* keys) {
  ParsedHeader parsed = parse_header(start);
  if (parsed.header.codec != Codec::none)
    throw Error(ErrorKind::corrupt, "object \"" + parsed.header.name + "\" cannot be read in parts");
  if (parsed.header.cipher != Cipher::none) key_ = unwrap_key(parsed, key_for(parsed.header, keys));
  header_ = std::move(parsed.header);
}

RangedObject::Range RangedObject::stored(Range plain) const {
  const std::uint64_t size = header_.plaintext_size;
  if (plain.length > size || plain.offset > size - plain.length)
    throw Error(ErrorKind::corrupt, "object \"" + header_.name + "\" is shorter than what refers to it says");
  if (!key_) return {header_.size + plain.offset, plain.length};
  const std::uint64_t record = header_.record_size, sealed = record + gcm_tag_size;
  const std::uint64_t first = plain.offset / record;
  const std::uint64_t end = std::max(first + 1, (plain.offset + plain.length + record - 1) / record);
  const std::uint64_t last_byte = std::min(size, end * record) + end * gcm_tag_size;
  return {header_.size + first * sealed, last_byte - first * sealed};
}

Bytes RangedObject::open(Range plain, ByteView stored_bytes) const {
  if (stored_bytes.size() != stored(plain).length)
    throw Error(ErrorKind::corrupt, "object \"" + header_.name + "\" is cut short");
  if (!key_) return {stored_bytes.begin(), stored_bytes.end()};
  const std::uint64_t record = header_.record_size;
  const std::uint64_t records = std::max<std::uint64_t>(1, (header_.plaintext_size + record - 1) / record);
  AesGcm cipher(*key_);
  Bytes bytes;
  for (std::uint64_t number = plain.offset / record; !stored_bytes.empty(); ++number) {
    const ByteView sealed = stored_bytes.first(std::min<std::size_t>(stored_bytes.size(), record + gcm_tag_size));
    stored_bytes = stored_bytes.subspan(sealed.size());
    if (!cipher.open(record_nonce(number, number + 1 == records), {}, sealed, bytes))
      throw Error(ErrorKind::corrupt, "record " + std::to_string(number) + " of object \"" + header_.name +
                                          "\" is damaged: its authentication tag does not match");
  }
  const auto skip = std::ptrdiff_t(plain.offset % record);
  bytes.erase(bytes.begin(), bytes.begin() + std::min(skip, std::ptrdiff_t(bytes.size())));
  bytes.resize(plain.length);
  return bytes;
}

} // namespace dbops::core
