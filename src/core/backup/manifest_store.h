// Manifests in a store: written and read part by part, in memory that does not grow with the number of files.
#pragma once

#include "core/backup/manifest.h"
#include "core/base/random.h"

#include <functional>

namespace dbops::core {

// Where the objects of backups are, and how they are written.
struct BackupRepository {
  ObjectStore& store;
  const Clock& clock;
  Random& random;
  std::uint64_t system_identifier = 0;
  const KeyRing* keys = nullptr; // null: nothing is encrypted, nor can what is be read
  std::string origin = {};
  int compression_level = 3;

  [[nodiscard]] std::string key(const std::string& name) const;
  // Reads, verifies and decodes one object. Absent: it is not there.
  [[nodiscard]] std::optional<Bytes> get(const std::string& name, ObjectKind kind, std::uint64_t limit,
                                         const CallContext& context, Digest* digest = nullptr) const;
  // Returns the size of the object. Throws Error(conflict) when the name is taken.
  std::uint64_t put(const std::string& name, ObjectKind kind, ByteView plaintext, const CallContext& context,
                    Digest* digest = nullptr) const;
};

// Plaintext bytes at which a part is closed.
constexpr std::size_t manifest_part_size = 1 << 20;
// Larger ones are refused when read: one entry of a huge file may go beyond the size of a part.
constexpr std::uint64_t max_manifest_part = 64 << 20;
constexpr std::uint64_t max_head_size = 16 << 20;

// The file entries of a backup, in order. Also of one that was never finished: those of the parts that it wrote.
class FileListReader {
 public:
  // parts: how many there are; absent: until one is missing.
  FileListReader(const BackupRepository& repository, std::string label, std::optional<std::uint32_t> parts);

  // Absent: the end. Throws Error(corrupt) when entries are not in order, not_found when a part is missing.
  std::optional<FileEntry> next(const CallContext& context);
  // The digest of the parts read so far, in order, as BackupHead::content has it for the first ones.
  [[nodiscard]] const std::vector<Digest>& digests() const noexcept { return digests_; }
  [[nodiscard]] const std::string& label() const noexcept { return label_; }

 private:
  bool next_part(const CallContext& context);

  const BackupRepository& repository_;
  std::string label_;
  std::optional<std::uint32_t> parts_;
  std::uint32_t part_ = 0; // the next one
  Bytes content_;
  std::size_t position_ = 0;
  std::string last_path_;
  std::vector<Digest> digests_;
};

// The packs of a backup, sorted by id. Throws as FileListReader.
std::vector<PackInfo> read_pack_list(const BackupRepository& repository, const BackupHead& head,
                                     std::vector<Digest>& digests, const CallContext& context);
// Returns the number of parts; bytes are added to `size`.
std::uint32_t write_pack_list(const BackupRepository& repository, const std::string& label,
                              const std::vector<PackInfo>& packs, std::vector<Digest>& digests, std::uint64_t& size,
                              const CallContext& context);

Digest digest_of_parts(const std::vector<Digest>& parts);

// Absent: there is no such backup, or it was not finished.
std::optional<BackupHead> read_head(const BackupRepository& repository, const std::string& label,
                                    const CallContext& context);

// Labels of all that was begun, ascending; which of them were finished, read_head() tells.
std::vector<std::string> list_backup_labels(const BackupRepository& repository, const CallContext& context);
// Names of the objects whose name begins with `directory`, ascending.
std::vector<std::string> names_below(const BackupRepository& repository, const std::string& directory,
                                     const CallContext& context);

} // namespace dbops::core
