// Parts of an object, read without the rest of it.
#pragma once

#include "core/wal/object_format.h"

namespace dbops::core {

// Any part of an object that has no codec, without the rest of it. The object's digest is of the whole, so it is not
// looked at: who reads a part must know by other means what is to be in it. Encrypted records prove themselves.
// May be used by several threads.
class RangedObject {
 public:
  // start: as for parse_object_header(). keys may be null. Throws as decode_object(), and Error(corrupt) when the
  // object has a codec.
  RangedObject(ByteView start, const KeyRing* keys);

  [[nodiscard]] const ObjectHeader& header() const noexcept { return header_; }

  struct Range {
    std::uint64_t offset = 0, length = 0;
  };
  // Which bytes of the object hold these of the plaintext. Throws Error(corrupt) when they are beyond its end.
  [[nodiscard]] Range stored(Range plain) const;
  // stored: the bytes of the object that stored(plain) names. Throws Error(corrupt).
  [[nodiscard]] Bytes open(Range plain, ByteView stored) const;

 private:
  ObjectHeader header_;
  std::optional<AesKey> key_;
};

} // namespace dbops::core
