#include "core/codec/zstd_parameters.h"

#include "core/base/error.h"

#include <stdexcept>
#include <string>
#include <zstd.h>

namespace dbops::core {

namespace {

constexpr int tuned_level = 3;
constexpr int hash_log = 13, chain_log = 12, min_match = 5;
constexpr int first_large_level = 9, large_level_window_log = 20;
constexpr int zstds_own = 0;

void set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  const std::size_t result = ZSTD_CCtx_setParameter(context, parameter, value);
  if (ZSTD_isError(result)) throw std::runtime_error(std::string("zstd: ") + ZSTD_getErrorName(result));
}

} // namespace

void set_zstd_parameters(ZSTD_CCtx* context, int level, ZstdContent content) {
  const bool is_tuned = level == tuned_level && content == ZstdContent::pages;
  set(context, ZSTD_c_compressionLevel, level);
  set(context, ZSTD_c_windowLog,
      level >= first_large_level && content == ZstdContent::pages ? large_level_window_log : zstds_own);
  set(context, ZSTD_c_hashLog, is_tuned ? hash_log : zstds_own);
  set(context, ZSTD_c_chainLog, is_tuned ? chain_log : zstds_own);
  set(context, ZSTD_c_minMatch, is_tuned ? min_match : zstds_own);
}

} // namespace dbops::core
