// Streams of zstd. One object may be used for many streams one after another: it keeps its work memory.
#pragma once

#include "core/base/bytes.h"
#include "core/codec/zstd_parameters.h"

#include <functional>
#include <memory>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace dbops::core {

// Called with pieces of output in order; a view is valid during the call.
using ByteSink = std::function<void(ByteView)>;

class ZstdEncoder {
 public:
  static constexpr int min_level = 1, max_level = 19;

  // Throws Error(configuration) for a level outside min_level..max_level.
  explicit ZstdEncoder(int level);

  // plaintext_size: what will be written in all, if known: it lets zstd choose a window that fits. Starts a new stream.
  void begin(std::uint64_t plaintext_size, ZstdContent content);
  void write(ByteView plaintext, const ByteSink& sink);
  // Ends the frame. The next stream starts with begin().
  void finish(const ByteSink& sink);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };
  void run(ByteView plaintext, int directive, const ByteSink& sink);
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  int level_;
  Bytes out_;
};

class ZstdDecoder {
 public:
  ZstdDecoder();

  // Decodes exactly one frame. Throws Error(corrupt) for anything else, or when the plaintext exceeds `limit` bytes.
  // The window is limited to 128 MiB, which every level up to 19 respects.
  void begin(std::uint64_t limit);
  void write(ByteView compressed, const ByteSink& sink);
  // Throws Error(corrupt) when the frame is not complete.
  void finish() const;

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
  Bytes out_;
  std::uint64_t left_ = 0;
  bool complete_ = false;
};

} // namespace dbops::core
