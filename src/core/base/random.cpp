#include "core/base/random.h"

#include <array>

namespace dbops::core {

double Random::uniform() {
  std::array<std::byte, 8> bytes{};
  fill(bytes);
  return double(ByteReader(bytes).u64() >> 11) * 0x1p-53;
}

} // namespace dbops::core
