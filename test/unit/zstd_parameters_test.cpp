// What is compressed with other parameters than zstd's own can be read as all else, and is no larger.
#include "core/codec/zstd.h"
#include "core/codec/zstd_frame.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <zstd.h>

namespace dbops::core {
namespace {

// Rows as they lie in the pages of a table: headers that repeat, numbers that count, and digits that say nothing.
Bytes pages(std::size_t count) {
  std::mt19937_64 random(7);
  Bytes out(count * 8192);
  std::uint64_t row = 0;
  for (std::size_t page = 0; page < count; ++page) {
    std::byte* at = out.data() + page * 8192 + 256;
    for (int n = 0; n < 60; ++n, at += 128, ++row) {
      constexpr std::uint32_t header[] = {0x2f1, 0, 0x00010000, 0x09020004, 0x18};
      std::memcpy(at, header, sizeof header);
      std::memcpy(at + 24, &row, sizeof row);
      for (std::size_t digit = 0; digit < 64; ++digit)
        at[36 + digit] = static_cast<std::byte>("0123456789abcdef"[random() & 15]);
    }
  }
  return out;
}

std::size_t zstds_own_size(ByteView plaintext) {
  Bytes out(ZSTD_compressBound(plaintext.size()));
  return ZSTD_compress(out.data(), out.size(), plaintext.data(), plaintext.size(), 3);
}

Bytes stream(ZstdEncoder& encoder, ByteView plaintext, ZstdContent content) {
  Bytes out;
  const ByteSink sink = [&](ByteView piece) { out.insert(out.end(), piece.begin(), piece.end()); };
  encoder.begin(plaintext.size(), content);
  encoder.write(plaintext, sink);
  encoder.finish(sink);
  return out;
}

TEST(ZstdParameters, AFrameOfPagesIsNoLargerThanZstdsOwn) {
  const Bytes plain = pages(32);
  ZstdFrameEncoder encoder(3);
  Bytes frame;
  encoder.encode(plain, frame);
  EXPECT_EQ(ZstdFrameDecoder().decode(frame, plain.size()), plain);
  EXPECT_LE(frame.size(), zstds_own_size(plain) * 1.01);
}

TEST(ZstdParameters, AStreamOfPagesIsNoLargerThanZstdsOwnAndLeavesNothingToTheNext) {
  const Bytes plain = pages(512);
  ZstdEncoder encoder(3);
  const Bytes first = stream(encoder, plain, ZstdContent::general);
  const Bytes of_pages = stream(encoder, plain, ZstdContent::pages);
  EXPECT_EQ(ZstdFrameDecoder().decode(of_pages, plain.size()), plain);
  EXPECT_LE(of_pages.size(), zstds_own_size(plain) * 1.01);
  EXPECT_NE(of_pages, first);
  EXPECT_EQ(stream(encoder, plain, ZstdContent::general), first);
}

TEST(ZstdParameters, OtherLevelsAreZstdsOwn) {
  const Bytes plain = pages(64);
  for (const int level : {1, 2, 4, 9, 19}) {
    ZstdEncoder encoder(level);
    EXPECT_EQ(stream(encoder, plain, ZstdContent::pages), stream(encoder, plain, ZstdContent::general)) << level;
  }
}

} // namespace
} // namespace dbops::core
