#include "core/codec/zstd.h"

#include "core/base/error.h"

#include <new>
#include <zstd.h>

namespace dbops::core {

namespace {

constexpr int max_window_log = 27; // 128 MiB; bounds the memory a hostile frame can demand

// For results that only a bug or lack of memory can make an error.
std::size_t checked(std::size_t result) {
  if (ZSTD_isError(result)) throw std::runtime_error(std::string("zstd: ") + ZSTD_getErrorName(result));
  return result;
}

} // namespace

void ZstdEncoder::Free::operator()(ZSTD_CCtx_s* context) const noexcept {
  ZSTD_freeCCtx(context);
}

ZstdEncoder::ZstdEncoder(int level) : context_(ZSTD_createCCtx()), level_(level), out_(ZSTD_CStreamOutSize()) {
  if (!context_) throw std::bad_alloc();
  if (level < min_level || level > max_level)
    throw Error(ErrorKind::configuration, "compression level " + std::to_string(level) + " is outside 1..19");
}

void ZstdEncoder::begin(std::uint64_t plaintext_size, ZstdContent content) {
  checked(ZSTD_CCtx_reset(context_.get(), ZSTD_reset_session_only));
  set_zstd_parameters(context_.get(), level_, content);
  checked(ZSTD_CCtx_setPledgedSrcSize(context_.get(), plaintext_size));
}

void ZstdEncoder::write(ByteView plaintext, const ByteSink& sink) {
  run(plaintext, ZSTD_e_continue, sink);
}

void ZstdEncoder::finish(const ByteSink& sink) {
  run({}, ZSTD_e_end, sink);
}

void ZstdEncoder::run(ByteView plaintext, int directive, const ByteSink& sink) {
  ZSTD_inBuffer in{plaintext.data(), plaintext.size(), 0};
  const auto mode = static_cast<ZSTD_EndDirective>(directive);
  for (;;) {
    ZSTD_outBuffer out{out_.data(), out_.size(), 0};
    const std::size_t left = checked(ZSTD_compressStream2(context_.get(), &out, &in, mode));
    if (out.pos > 0) sink(ByteView(out_).first(out.pos));
    if (mode == ZSTD_e_end ? left == 0 : in.pos == in.size) return;
  }
}

void ZstdDecoder::Free::operator()(ZSTD_DCtx_s* context) const noexcept {
  ZSTD_freeDCtx(context);
}

ZstdDecoder::ZstdDecoder() : context_(ZSTD_createDCtx()), out_(ZSTD_DStreamOutSize()) {
  if (!context_) throw std::bad_alloc();
  checked(ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, max_window_log));
}

void ZstdDecoder::begin(std::uint64_t limit) {
  checked(ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only));
  left_ = limit;
  complete_ = false;
}

void ZstdDecoder::write(ByteView compressed, const ByteSink& sink) {
  ZSTD_inBuffer in{compressed.data(), compressed.size(), 0};
  bool output_full = false;
  while (in.pos < in.size || output_full) {
    if (complete_) throw Error(ErrorKind::corrupt, "data after the end of the zstd frame");
    ZSTD_outBuffer out{out_.data(), out_.size(), 0};
    const std::size_t hint = ZSTD_decompressStream(context_.get(), &out, &in);
    if (ZSTD_isError(hint)) throw Error(ErrorKind::corrupt, std::string("zstd: ") + ZSTD_getErrorName(hint));
    if (out.pos > left_) throw Error(ErrorKind::corrupt, "the zstd frame holds more than its object says");
    left_ -= out.pos;
    if (out.pos > 0) sink(ByteView(out_).first(out.pos));
    complete_ = hint == 0;
    output_full = !complete_ && out.pos == out.size;
  }
}

void ZstdDecoder::finish() const {
  if (!complete_) throw Error(ErrorKind::corrupt, "the zstd frame is cut short");
}

} // namespace dbops::core
