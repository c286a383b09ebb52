// write_samples DIRECTORY: a repository with one of everything in DIRECTORY/store, what a reader must get of it in
// DIRECTORY/expected, the keys in DIRECTORY/keys. test/format/run.sh gives both to a reader in another language.
#include "core/base/file.h"
#include "core/crypto/random.h"
#include "core/store/file_store.h"
#include "core/wal/repository.h"
#include "core/wal/wal_writer.h"
#include "unit/wal_fixture.h"

#include <cstdio>
#include <exception>

namespace dbops::core {
namespace {

namespace fs = std::filesystem;

const SegmentSize size(4 << 20); // more than one encrypted record

class Samples {
 public:
  explicit Samples(const fs::path& directory)
      : directory_(directory), store_(made(directory / "store"), random_),
        keys_(KeyRing::parse("a = " + std::string(64, '1') + "\nb = " + std::string(64, '2') + "\ncurrent = b\n")),
        old_keys_(KeyRing::parse("a = " + std::string(64, '1') + "\n")) {
    made(directory / "expected");
    write_file(directory / "keys",
               as_bytes("# test\na = " + std::string(64, '1') + "\nb = " + std::string(64, '2') + "\ncurrent = b\n"));
    open_repository(store_, test_system_identifier, {"instance", "host=sample"}, clock_.wall_now(), {});
  }

  void file(const std::string& name, ByteView content, const KeyRing* keys, Codec codec) {
    const fs::path path = directory_ / "expected" / name;
    write_file(path, content);
    writer(keys, codec).put_file(*parse_wal_file_name(name), path, {});
  }
  void segment(SegmentNumber number, const KeyRing* keys, Codec codec) {
    file(segment_name({1, number}, size), make_segment({1, number}, size), keys, codec);
  }
  void chunks(SegmentNumber number, const std::vector<ChunkRange>& ranges, std::size_t covered) {
    const SegmentId id{1, number};
    Bytes content = make_segment(id, size);
    const auto name = *parse_wal_file_name(segment_name(id, size));
    for (const ChunkRange& range : ranges)
      writer(number % 2 == 0 ? &keys_ : nullptr, Codec::zstd)
          .put_chunk(name, range, ByteView(content).subspan(range.from, range.to - range.from), {});
    std::fill(content.begin() + std::ptrdiff_t(covered), content.end(), std::byte(0));
    write_file(directory_ / "expected" / name.name, content);
  }
  void all() {
    segment(1, nullptr, Codec::zstd);
    segment(2, &keys_, Codec::zstd);
    segment(3, &old_keys_, Codec::zstd);
    segment(4, nullptr, Codec::none);
    segment(5, &keys_, Codec::none);
    const auto whole = std::uint32_t(size.bytes());
    chunks(6, {{0, 8192}, {4096, whole}}, whole);
    chunks(7, {{0, 8192}, {4096, 10000}, {10000, 10001}, {20000, 30000}}, 10001);
    file("00000002.history", as_bytes("1\t0/1C00000\tno recovery target specified\n"), &keys_, Codec::zstd);
    file("00000003.history", as_bytes(""), &keys_, Codec::none);
    file("000000010000000000000002.00000028.backup", as_bytes("START WAL LOCATION: 0/800028\n"), nullptr, Codec::zstd);
    file(segment_name({2, 9}, size) + ".partial", make_segment({2, 9}, size), &keys_, Codec::zstd);
  }

 private:
  static fs::path made(const fs::path& directory) {
    fs::create_directories(directory);
    return directory;
  }
  WalWriter writer(const KeyRing* keys, Codec codec) {
    return {store_,
            clock_,
            random_,
            {test_system_identifier, "host=sample", {.codec = codec, .compression_level = 3, .keys = keys}}};
  }

  fs::path directory_;
  SystemClock clock_;
  SystemRandom random_;
  FileStore store_;
  KeyRing keys_, old_keys_;
};

} // namespace
} // namespace dbops::core

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw std::runtime_error("usage: write_samples DIRECTORY");
    dbops::core::Samples(std::filesystem::absolute(argv[1])).all();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_samples: %s\n", error.what());
    return 1;
  }
}
