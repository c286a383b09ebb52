// Randomness as an argument: tests pass a sequence that they know.
#pragma once

#include "core/base/bytes.h"

namespace dbops::core {

class Random {
 public:
  virtual ~Random() = default;
  // Fills the buffer; callable from several threads. Keys and nonces come from here, so an implementation for
  // production must be cryptographically secure (SystemRandom in crypto/random.h).
  virtual void fill(std::span<std::byte> buffer) = 0;

  // Uniform in [0, 1).
  double uniform();
};

} // namespace dbops::core
