// Single zstd frames in memory: small pieces that are read on their own. Streams are in zstd.h.
#pragma once

#include "core/base/bytes.h"

#include <memory>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace dbops::core {

class ZstdFrameEncoder {
 public:
  // level: 1..19; throws Error(configuration) for another.
  explicit ZstdFrameEncoder(int level);
  // Appends one frame that names its plaintext's size.
  void encode(ByteView plaintext, Bytes& out);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
};

class ZstdFrameDecoder {
 public:
  ZstdFrameDecoder();
  // Throws Error(corrupt) unless `frame` is exactly one frame that names its size, of at most `limit` bytes.
  Bytes decode(ByteView frame, std::size_t limit);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
};

} // namespace dbops::core
