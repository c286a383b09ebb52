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
// KiB, for which zstd would look for four. docs/performance.md, "What was learned of backups". From level 9 on for
// pages: tables for a window of 1 MiB, which take less than 20 MiB instead of up to 90, and each worker has them;
// docs/archive.md, "Processes and memory". All else is zstd's own.
void set_zstd_parameters(ZSTD_CCtx_s* context, int level, ZstdContent content);

} // namespace dbops::core
