// What a backup divides files into.
#pragma once

#include "core/base/bytes.h"

#include <array>
#include <compare>
#include <memory>

struct evp_md_ctx_st;
struct evp_md_st;

namespace dbops::core {

// Bytes of a block; the last one of a file may be shorter. PostgreSQL's page size: a changed page is a changed block.
constexpr std::uint32_t block_size = 8192;
// Blocks that one map describes: 32 MiB of a file.
constexpr std::uint32_t region_blocks = 4096;
constexpr std::uint64_t region_size = std::uint64_t(region_blocks) * block_size;

// The first 16 bytes of the SHA-256 of the content.
using BlockHash = std::array<std::byte, 16>;

// Keeps OpenSSL's state over many blocks. For one thread.
class BlockHasher {
 public:
  BlockHasher();
  BlockHash hash(ByteView block);

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const noexcept;
    void operator()(evp_md_st* digest) const noexcept;
  };
  std::unique_ptr<evp_md_st, Free> digest_;
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

bool is_all_zero(ByteView bytes) noexcept;

} // namespace dbops::core
