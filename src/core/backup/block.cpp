#include "core/backup/block.h"

#include "core/crypto/hash.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <openssl/evp.h>
#include <stdexcept>

namespace dbops::core {

void BlockHasher::Free::operator()(evp_md_ctx_st* context) const noexcept {
  EVP_MD_CTX_free(context);
}

void BlockHasher::Free::operator()(evp_md_st* digest) const noexcept {
  EVP_MD_free(digest);
}

BlockHasher::BlockHasher() : digest_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
  if (!digest_ || !context_) throw std::bad_alloc();
}

BlockHash BlockHasher::hash(ByteView block) {
  Digest digest;
  if (EVP_DigestInit_ex2(context_.get(), digest_.get(), nullptr) != 1 ||
      EVP_DigestUpdate(context_.get(), block.data(), block.size()) != 1 ||
      EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr) != 1)
    throw std::runtime_error("OpenSSL cannot compute SHA-256");
  BlockHash hash;
  std::copy_n(digest.begin(), hash.size(), hash.begin());
  return hash;
}

bool is_all_zero(ByteView bytes) noexcept {
  // Equal to itself moved by one byte, and beginning with zero.
  return bytes.empty() ||
         (bytes[0] == std::byte(0) && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

} // namespace dbops::core
