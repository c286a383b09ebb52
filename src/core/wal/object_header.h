// Between the files that make and read objects: the header as bytes, and what encryption needs of it.
#pragma once

#include "core/wal/object_format.h"

namespace dbops::core {

constexpr std::size_t wrapped_key_size = 32 + gcm_tag_size;

// The header up to the key, which is what the wrapping of the key authenticates.
Bytes encode_fields(const ObjectHeader& header);
std::size_t encoded_size(const ObjectHeader& header);
void append_checksum(Bytes& header);

// The header and, for an encrypted object, what its key needs to be unwrapped.
struct ParsedHeader {
  ObjectHeader header;
  ByteView authenticated; // all fields in front of the nonce
  ByteView nonce, wrapped_key;
};

// object: as parse_object_header(). The views are of `object`.
ParsedHeader parse_header(ByteView object);

// How long the header is that begins so. Absent: it takes more bytes to know. May be any number for what is no object.
std::optional<std::size_t> header_size(ByteView start);

// Throws Error(key_missing).
const EncryptionKey& key_for(const ObjectHeader& header, const KeyRing* keys);
// Throws Error(key_wrong).
AesKey unwrap_key(const ParsedHeader& parsed, const EncryptionKey& key);

// Every record of an object has its own nonce under the object's own key.
GcmNonce record_nonce(std::uint64_t number, bool last);

} // namespace dbops::core
