// Names of WAL files, keys of objects, timeline histories, control files; what is parsed must come out the same when it
// is written again.
#include "core/base/error.h"
#include "core/wal/cluster_identity.h"
#include "core/wal/layout.h"
#include "core/wal/restore_plan.h"
#include "core/wal/timeline_history.h"

using namespace dbops::core;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto require = [](bool condition) {
    if (!condition) __builtin_trap();
  };
  if (const auto file = parse_wal_file_name(text)) {
    const auto back = parse_wal_key(wal_file_key(*file));
    require(back && back->file.name == text && back->file.kind == file->kind && !back->chunk);
  }
  if (const auto key = parse_wal_key(text))
    require((key->chunk ? chunk_key(key->file, *key->chunk) : wal_file_key(key->file)) == text);
  for (const std::uint64_t bytes : {1ULL << 20, 16ULL << 20, 1ULL << 30})
    if (const auto id = parse_segment_name(text, SegmentSize(bytes)))
      require(segment_name(*id, SegmentSize(bytes)) == text);
  if (const auto lsn = parse_lsn(text)) require(parse_lsn(to_string(*lsn)) == lsn);

  try {
    TimelineId previous = 0;
    for (const TimelineSwitch& ancestor : parse_timeline_history(text, 9)) {
      require(ancestor.timeline > previous && ancestor.timeline < 9);
      previous = ancestor.timeline;
    }
  } catch (const Error&) {
  }
  if (const auto identity = parse_control_file(as_bytes(text))) require(identity->system_identifier != 0);

  std::vector<ChunkRange> chunks;
  for (std::size_t i = 0; i + 2 <= size; i += 2)
    if (data[i] < data[i + 1]) chunks.push_back({data[i], data[i + 1]});
  std::uint32_t position = 0;
  const RestorePlan plan = plan_chunks(chunks, 200);
  for (const ChunkPiece& piece : plan.pieces) {
    require(piece.chunk.from + piece.skip == position && piece.chunk.to > position);
    position = piece.chunk.to;
  }
  require(plan.covered == std::min(position, 200U));
  return 0;
}
