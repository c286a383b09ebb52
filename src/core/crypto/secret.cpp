#include "core/crypto/secret.h"

#include <openssl/crypto.h>

namespace dbops::core {

// A moved-from short string still holds its characters in place, so a copy is taken and the source wiped.
Secret::Secret(Secret&& other) noexcept : value_(std::move(other.value_)) {
  other.wipe();
}

Secret& Secret::operator=(Secret other) noexcept {
  value_.swap(other.value_);
  return *this;
}

void Secret::wipe() noexcept {
  value_.resize(value_.capacity());
  OPENSSL_cleanse(value_.data(), value_.size());
  value_.clear();
}

} // namespace dbops::core
