#include "core/codec/zstd_frame.h"

#include "core/base/error.h"
#include "core/codec/zstd_parameters.h"

#include <new>
#include <zstd.h>

namespace dbops::core {

void ZstdFrameEncoder::Free::operator()(ZSTD_CCtx_s* context) const noexcept {
  ZSTD_freeCCtx(context);
}

ZstdFrameEncoder::ZstdFrameEncoder(int level) : context_(ZSTD_createCCtx()) {
  if (!context_) throw std::bad_alloc();
  if (level < 1 || level > 19)
    throw Error(ErrorKind::configuration, "compression level " + std::to_string(level) + " is outside 1..19");
  set_zstd_parameters(context_.get(), level, ZstdContent::pages);
}

void ZstdFrameEncoder::encode(ByteView plaintext, Bytes& out) {
  const std::size_t before = out.size();
  out.resize(before + ZSTD_compressBound(plaintext.size()));
  const std::size_t size =
      ZSTD_compress2(context_.get(), out.data() + before, out.size() - before, plaintext.data(), plaintext.size());
  if (ZSTD_isError(size)) throw std::runtime_error(std::string("zstd: ") + ZSTD_getErrorName(size));
  out.resize(before + size);
}

void ZstdFrameDecoder::Free::operator()(ZSTD_DCtx_s* context) const noexcept {
  ZSTD_freeDCtx(context);
}

ZstdFrameDecoder::ZstdFrameDecoder() : context_(ZSTD_createDCtx()) {
  if (!context_) throw std::bad_alloc();
}

Bytes ZstdFrameDecoder::decode(ByteView frame, std::size_t limit) {
  // Two constants stand for "unknown" and "error": both are far above any limit.
  const unsigned long long size = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (size > limit) throw Error(ErrorKind::corrupt, "a zstd frame does not name its size, or is too large");
  Bytes plain(size);
  const std::size_t done = ZSTD_decompressDCtx(context_.get(), plain.data(), plain.size(), frame.data(), frame.size());
  if (ZSTD_isError(done)) throw Error(ErrorKind::corrupt, std::string("zstd: ") + ZSTD_getErrorName(done));
  if (done != size) throw Error(ErrorKind::corrupt, "a zstd frame is shorter than it says");
  return plain;
}

} // namespace dbops::core
