// Logical backups: what pg_dump wrote, in pieces. Specified in docs/format.md.
#pragma once

#include "core/backup/manifest_store.h"
#include "core/base/error.h"
#include "core/base/thread_pool.h"

#include <deque>
#include <future>
#include <map>
#include <memory>

namespace dbops::core {

// Plaintext bytes of a piece; the last one of a file is shorter.
constexpr std::size_t dump_piece_size = 16 << 20;

enum class DumpFormat : std::uint8_t { custom, directory };
std::string_view to_string(DumpFormat format) noexcept;

// A file that pg_dump wrote: one in format custom.
struct DumpFile {
  std::string name;
  std::uint64_t size = 0;
  std::uint32_t first_piece = 0;
  [[nodiscard]] std::uint32_t pieces() const noexcept {
    return std::uint32_t((size + dump_piece_size - 1) / dump_piece_size);
  }
};

// The object that makes a dump one: written last.
struct DumpHead {
  std::string label; // as of a backup
  std::uint64_t system_identifier = 0;
  std::string database;
  DumpFormat format = DumpFormat::custom;
  std::uint32_t server_version = 0; // 150020
  std::string program;              // "pg_dump (PostgreSQL) 15.8"
  std::vector<std::string> tables = {},
                           schemas = {}; // patterns that it was limited to; both empty: all of the database
  std::string user_label;
  std::map<std::string, std::string> annotations = {};
  WallTime started, finished;
  std::vector<DumpFile> files = {};
  Digest content{};                          // SHA-256 over the SHA-256s of all pieces, in order
  std::uint64_t bytes = 0, stored_bytes = 0; // plaintext; objects
};

std::string encode_dump_head(const DumpHead& head);
// Throws Error(corrupt), or Error(configuration) for a newer format.
DumpHead decode_dump_head(std::string_view json);

std::string dump_prefix(std::string_view label);                          // "dump/<label>/"
std::string dump_head_key(std::string_view label);                        // ".../manifest"
std::string dump_begun_key(std::string_view label);                       // ".../begun"
std::string dump_piece_key(std::string_view label, std::uint32_t number); // ".../pieces/00000000.zst"

// Compresses, encrypts and stores pieces in some threads while the next one is being filled.
class DumpWriter {
 public:
  // repository must outlive it. head: all but label, times, files and figures. Takes the label, which is the time, or a
  // second or more later when others were begun.
  DumpWriter(const BackupRepository& repository, DumpHead head, unsigned threads, const CallContext& context);

  [[nodiscard]] const std::string& label() const noexcept { return head_.label; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  void begin_file(std::string name);
  void write(ByteView bytes);
  // Ends the last file, and makes it a dump. Throws Error(conflict) when expiry took it for aborted.
  DumpHead finish();

 private:
  struct Stored {
    std::uint64_t size = 0;
    Digest digest{};
  };
  void store_piece();
  void take_stored();
  void end_file();

  const BackupRepository& repository_;
  DumpHead head_;
  unsigned threads_;
  CallContext context_;
  Bytes piece_;
  std::uint32_t pieces_ = 0;
  std::atomic<std::uint64_t> bytes_{0};
  std::deque<std::future<Stored>> storing_;
  std::vector<Digest> digests_;
  ThreadPool pool_;
};

// Gives out the file in order; each piece is verified before. Some pieces are read ahead. Throws Error: not_found,
// corrupt, and what ObjectStore and sink throw.
void read_dump_file(const BackupRepository& repository, const DumpHead& head, const DumpFile& file, unsigned threads,
                    const std::function<void(ByteView)>& sink, const CallContext& context);

struct DumpEntry {
  std::string label;
  std::optional<DumpHead> head = {};         // absent: not finished, or not readable
  std::string problem = {};                  // why it is not readable; empty: it was not finished
  std::optional<ErrorKind> key_problem = {}; // as of CatalogueEntry
  std::string hint = {};
};

// Ascending by label.
std::vector<DumpEntry> read_dumps(const BackupRepository& repository, unsigned threads, const CallContext& context);

// What is missing, of another size, or, when `deep`, damaged. Empty: nothing.
std::vector<std::string> damage_of_dump(const BackupRepository& repository, const DumpHead& head, bool deep,
                                        unsigned threads, const CallContext& context);

} // namespace dbops::core
