// SHA-256, HMAC-SHA-256, SHA-1 (OpenSSL).
#pragma once

#include "core/base/bytes.h"

#include <array>
#include <memory>

struct evp_md_ctx_st;
struct evp_mac_ctx_st;

namespace dbops::core {

using Digest = std::array<std::byte, 32>;

class Sha256 {
 public:
  Sha256();
  void update(ByteView bytes);
  // Ends the computation; the object may not be used afterwards.
  Digest finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

class HmacSha256 {
 public:
  explicit HmacSha256(ByteView key);
  void update(ByteView bytes);
  // Ends the computation; the object may not be used afterwards.
  Digest finish();

 private:
  struct Free {
    void operator()(evp_mac_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_mac_ctx_st, Free> context_;
};

Digest sha256(ByteView bytes);
Digest hmac_sha256(ByteView key, ByteView bytes);

// In hexadecimal digits. Only for names that other tools have given by it: it protects from nothing.
std::string sha1_hex(ByteView bytes);

// Base 64 with padding (RFC 4648), as HTTP checksum headers carry it.
std::string to_base64(ByteView bytes);

} // namespace dbops::core
