#pragma once

struct ZSTD_CCtx_s;

namespace dbops::core {

// What a stream holds.
enum class ZstdContent {
  general,
  pages, // of tables and indexes, and WAL
};

// Sets what zstd leaves to its level. At level 3 for pages: small tables of matches, which stay in the processor's
// nearest cache and find as much, as pages repeat what is near; and matches of five bytes, also for inputs of up to 256
// KiB, for which zstd would look for four. docs/performance.md, "What was learned of backups". Other levels are zstd's
// own.
void set_zstd_parameters(ZSTD_CCtx_s* context, int level, ZstdContent content);

} // namespace dbops::core
