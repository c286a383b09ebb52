// Manifests, maps and frames come from a store that others can write to: no byte of them is trusted.
#include "core/backup/dump.h"
#include "core/backup/evidence.h"
#include "core/backup/manifest.h"
#include "core/backup/region_map.h"
#include "core/backup/relation_names.h"
#include "core/backup/summary.h"
#include "core/base/error.h"

using namespace dbops::core;

namespace {

template <class Parse>
void survives(const Parse& parse) {
  try {
    parse();
  } catch (const Error&) {
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes = std::as_bytes(std::span(data, size));
  survives([&] {
    for (ByteReader in(bytes); in.remaining() > 0;) {
      const FileEntry entry = decode_entry(in);
      if (entry.path.empty() || entry.path.front() == '/') __builtin_trap();
      Bytes again;
      encode_entry(entry, again);
    }
  });
  survives([&] {
    // What it refers to is what follows the first half.
    const ByteView half = bytes.first(size / 2), rest = bytes.subspan(size / 2);
    const StoredRegionMap read =
        decode_region_map(half, [&](const BlobRef&) { return Bytes(rest.begin(), rest.end()); });
    for (const BlockEntry& block : read.map.blocks)
      if (block.frame != BlockEntry::zero && block.frame >= read.map.frames.size()) __builtin_trap();
    encode_region_map(read.map);
  });
  survives([&] {
    ZstdFrameDecoder decoder;
    if (decode_frame(bytes, decoder).size() > max_frame_size) __builtin_trap();
  });
  survives([&] { decode_head(as_text(bytes)); });
  survives([&] {
    for (const DumpFile& file : decode_dump_head(as_text(bytes)).files)
      if (file.name.empty() || file.name.find('/') != std::string::npos) __builtin_trap();
  });
  survives([&] {
    std::size_t size_of_all = 0;
    for (const SummaryEntry& entry : decode_summary(bytes))
      size_of_all += entry.name.size() + entry.content.size();
    if (size_of_all > bytes.size()) __builtin_trap();
  });
  survives([&] {
    Bytes page(bytes.begin(), bytes.end());
    page.resize(block_size);
    const Bytes map = from_hex("17275900"
                               "01000000"
                               "eb040000"
                               "eb040000"); // pg_class in "1259"
    RelationNames names([&](const std::string& path, const std::function<void(ByteView)>& sink) {
      sink(path.ends_with(".map") ? ByteView(map) : ByteView(page));
      return true;
    });
    names.describe("base/5/16384");
  });
  survives([&] { decode_drill(as_text(bytes)); });
  survives([&] { decode_verification(as_text(bytes)); });
  survives([&] { parse_pack_key(as_text(bytes)); });
  return 0;
}
