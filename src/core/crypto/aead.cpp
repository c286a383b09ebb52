#include "core/crypto/aead.h"

#include <new>
#include <openssl/evp.h>
#include <stdexcept>

namespace dbops::core {

namespace {

void check(int result) {
  if (result != 1) throw std::runtime_error("OpenSSL failed in AES-256-GCM");
}

unsigned char* raw(std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}
const unsigned char* raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

} // namespace

void AesGcm::Free::operator()(evp_cipher_ctx_st* context) const noexcept {
  EVP_CIPHER_CTX_free(context);
}

AesGcm::AesGcm(const AesKey& key) : encrypt_(EVP_CIPHER_CTX_new()), decrypt_(EVP_CIPHER_CTX_new()) {
  if (!encrypt_ || !decrypt_) throw std::bad_alloc();
  check(EVP_EncryptInit_ex(encrypt_.get(), EVP_aes_256_gcm(), nullptr, raw(key.data()), nullptr));
  check(EVP_DecryptInit_ex(decrypt_.get(), EVP_aes_256_gcm(), nullptr, raw(key.data()), nullptr));
}

void AesGcm::seal(const GcmNonce& nonce, ByteView associated, ByteView plaintext, Bytes& out) {
  const std::size_t start = out.size();
  out.resize(start + plaintext.size() + gcm_tag_size);
  auto* context = encrypt_.get();
  int length = 0;
  check(EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, raw(nonce.data())));
  if (!associated.empty())
    check(EVP_EncryptUpdate(context, nullptr, &length, raw(associated.data()), int(associated.size())));
  if (!plaintext.empty())
    check(EVP_EncryptUpdate(context, raw(out.data() + start), &length, raw(plaintext.data()), int(plaintext.size())));
  std::byte* const tag = out.data() + start + plaintext.size();
  check(EVP_EncryptFinal_ex(context, raw(tag), &length));
  check(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, int(gcm_tag_size), tag));
}

bool AesGcm::open(const GcmNonce& nonce, ByteView associated, ByteView sealed, Bytes& out) {
  if (sealed.size() < gcm_tag_size) return false;
  const ByteView text = sealed.first(sealed.size() - gcm_tag_size);
  std::array<std::byte, gcm_tag_size> tag{};
  std::copy(sealed.end() - gcm_tag_size, sealed.end(), tag.begin());
  const std::size_t start = out.size();
  out.resize(start + text.size() + 1); // one more: the final call is given an address even when nothing is left
  auto* context = decrypt_.get();
  int length = 0;
  check(EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, raw(nonce.data())));
  if (!associated.empty())
    check(EVP_DecryptUpdate(context, nullptr, &length, raw(associated.data()), int(associated.size())));
  if (!text.empty())
    check(EVP_DecryptUpdate(context, raw(out.data() + start), &length, raw(text.data()), int(text.size())));
  check(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, int(gcm_tag_size), tag.data()));
  const bool genuine = EVP_DecryptFinal_ex(context, raw(out.data() + start + text.size()), &length) == 1;
  out.resize(genuine ? start + text.size() : start);
  return genuine;
}

} // namespace dbops::core
