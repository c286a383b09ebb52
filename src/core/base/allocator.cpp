#include "core/base/allocator.h"

#include <malloc.h>

namespace dbops::core {

void return_large_buffers() noexcept {
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  ::mallopt(M_ARENA_MAX, 2);
}

} // namespace dbops::core
