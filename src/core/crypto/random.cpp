#include "core/crypto/random.h"

#include <openssl/rand.h>
#include <stdexcept>

namespace dbops::core {

void SystemRandom::fill(std::span<std::byte> buffer) {
  if (RAND_bytes(reinterpret_cast<unsigned char*>(buffer.data()), int(buffer.size())) != 1)
    throw std::runtime_error("OpenSSL has no randomness");
}

} // namespace dbops::core
