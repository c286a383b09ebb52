// The operating system's randomness, by OpenSSL's generator.
#pragma once

#include "core/base/random.h"

namespace dbops::core {

class SystemRandom final : public Random {
 public:
  void fill(std::span<std::byte> buffer) override;
};

} // namespace dbops::core
