#include "core/crypto/hash.h"

#include <new>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdexcept>

namespace dbops::core {

namespace {

void check(int result) {
  if (result != 1) throw std::runtime_error("OpenSSL failed to compute a hash");
}

const unsigned char* raw(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

} // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const noexcept {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_) throw std::bad_alloc();
  check(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}

void Sha256::update(ByteView bytes) {
  check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

Digest Sha256::finish() {
  Digest digest{};
  check(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr));
  return digest;
}

void HmacSha256::Free::operator()(evp_mac_ctx_st* context) const noexcept {
  EVP_MAC_CTX_free(context);
}

HmacSha256::HmacSha256(ByteView key) {
  struct FreeMac {
    void operator()(EVP_MAC* mac) const noexcept { EVP_MAC_free(mac); }
  };
  const std::unique_ptr<EVP_MAC, FreeMac> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
  context_.reset(EVP_MAC_CTX_new(mac.get()));
  if (!context_) throw std::bad_alloc();
  std::array<char, 7> name{"SHA256"};
  const std::array<OSSL_PARAM, 2> parameters{OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name.data(), 0),
                                             OSSL_PARAM_construct_end()};
  // OpenSSL takes a null key for "keep the previous one": an empty key needs an address.
  static constexpr unsigned char none = 0;
  check(EVP_MAC_init(context_.get(), key.empty() ? &none : raw(key), key.size(), parameters.data()));
}

void HmacSha256::update(ByteView bytes) {
  check(EVP_MAC_update(context_.get(), raw(bytes), bytes.size()));
}

Digest HmacSha256::finish() {
  Digest digest{};
  std::size_t length = 0;
  check(EVP_MAC_final(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), &length, digest.size()));
  return digest;
}

Digest sha256(ByteView bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

Digest hmac_sha256(ByteView key, ByteView bytes) {
  HmacSha256 mac(key);
  mac.update(bytes);
  return mac.finish();
}

std::string sha1_hex(ByteView bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha1(), nullptr) != 1)
    throw std::runtime_error("SHA-1 cannot be computed");
  return to_hex(std::as_bytes(std::span(digest.data(), size)));
}

std::string to_base64(ByteView bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), raw(bytes), int(bytes.size()));
  text.resize(std::size_t(length));
  return text;
}

} // namespace dbops::core
