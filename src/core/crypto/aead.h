// AES-256-GCM (OpenSSL).
#pragma once

#include "core/base/bytes.h"

#include <array>
#include <memory>

struct evp_cipher_ctx_st;

namespace dbops::core {

using AesKey = std::array<std::byte, 32>;
using GcmNonce = std::array<std::byte, 12>;
constexpr std::size_t gcm_tag_size = 16;

// Seals or opens many messages under one key. The caller never uses a nonce twice under a key.
class AesGcm {
 public:
  explicit AesGcm(const AesKey& key);

  // Appends the ciphertext and the 16-byte tag to `out`.
  void seal(const GcmNonce& nonce, ByteView associated, ByteView plaintext, Bytes& out);

  // Appends the plaintext to `out`. False, and `out` as it was, when the tag does not match.
  [[nodiscard]] bool open(const GcmNonce& nonce, ByteView associated, ByteView sealed, Bytes& out);

 private:
  struct Free {
    void operator()(evp_cipher_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_cipher_ctx_st, Free> encrypt_, decrypt_;
};

} // namespace dbops::core
