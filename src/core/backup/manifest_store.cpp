#include "core/backup/manifest_store.h"

#include "core/base/error.h"
#include "core/wal/layout.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::size_t packs_in_part = 1 << 15;

} // namespace

std::string BackupRepository::key(const std::string& name) const {
  return cluster_prefix(system_identifier) + name;
}

std::optional<Bytes> BackupRepository::get(const std::string& name, ObjectKind kind, std::uint64_t limit,
                                           const CallContext& context, Digest* digest) const {
  const auto object = store.get(key(name), {}, context);
  if (!object) return {};
  Bytes plain;
  try {
    const ObjectHeader header = decode_object(*object, keys, limit, [&plain](ByteView piece) { append(plain, piece); });
    if (header.name != name || header.system_identifier != system_identifier || header.kind != kind)
      throw Error(ErrorKind::corrupt, "this object belongs elsewhere: its header names \"" + header.name + "\"");
    if (digest != nullptr) *digest = sha256(plain);
  } catch (const Error& error) {
    throw Error(error.kind(), "\"" + name + "\" of " + store.describe() + ": " + error.what(), error.hint());
  }
  return plain;
}

std::uint64_t BackupRepository::put(const std::string& name, ObjectKind kind, ByteView plaintext,
                                    const CallContext& context, Digest* digest) const {
  ObjectEncoder encoder({.codec = Codec::zstd, .compression_level = compression_level, .keys = keys}, random);
  const Bytes object = encode_object(encoder, {kind, system_identifier, name, origin}, plaintext, clock.wall_now());
  if (store.put_if_absent(key(name), object, context) == PutResult::exists) {
    // Ours, if an answer was lost on its way; then it has our bytes.
    const auto there = store.get(key(name), {}, context);
    if (!there || *there != object)
      throw Error(ErrorKind::conflict, "\"" + name + "\" of " + store.describe() + " was written by somebody else");
  }
  if (digest != nullptr) *digest = sha256(plaintext);
  return object.size();
}

FileListReader::FileListReader(const BackupRepository& repository, std::string label,
                               std::optional<std::uint32_t> parts)
    : repository_(repository), label_(std::move(label)), parts_(parts) {}

bool FileListReader::next_part(const CallContext& context) {
  if (parts_ && part_ == *parts_) return false;
  const std::string name = backup_part_key(label_, part_);
  Digest digest{};
  auto content = repository_.get(name, ObjectKind::backup_files, max_manifest_part, context, &digest);
  if (!content && parts_)
    throw Error(ErrorKind::not_found, "\"" + name + "\" is missing in " + repository_.store.describe());
  if (!content) return false;
  content_ = std::move(*content);
  position_ = 0;
  digests_.push_back(digest);
  ++part_;
  return true;
}

std::optional<FileEntry> FileListReader::next(const CallContext& context) {
  while (position_ == content_.size())
    if (!next_part(context)) return {};
  ByteReader in(ByteView(content_).subspan(position_));
  FileEntry entry = decode_entry(in);
  position_ = content_.size() - in.remaining();
  if (!last_path_.empty() && !path_less(last_path_, entry.path))
    throw Error(ErrorKind::corrupt, "the list of files of backup " + label_ + " is not in order");
  last_path_ = entry.path;
  return entry;
}

std::vector<PackInfo> read_pack_list(const BackupRepository& repository, const BackupHead& head,
                                     std::vector<Digest>& digests, const CallContext& context) {
  std::vector<PackInfo> packs;
  for (std::uint32_t part = 0; part < head.pack_parts; ++part) {
    const std::string name = backup_packs_key(head.label, part);
    Digest digest{};
    const auto content = repository.get(name, ObjectKind::backup_packs, max_manifest_part, context, &digest);
    if (!content) throw Error(ErrorKind::not_found, "\"" + name + "\" is missing in " + repository.store.describe());
    digests.push_back(digest);
    for (ByteReader in(*content); in.remaining() > 0;) {
      PackInfo pack;
      std::ranges::copy(in.raw(pack.id.size()), pack.id.begin());
      pack.size = in.u64();
      if (!packs.empty() && packs.back().id >= pack.id)
        throw Error(ErrorKind::corrupt, "the list of packs of backup " + head.label + " is not in order");
      packs.push_back(pack);
    }
  }
  return packs;
}

std::uint32_t write_pack_list(const BackupRepository& repository, const std::string& label,
                              const std::vector<PackInfo>& packs, std::vector<Digest>& digests, std::uint64_t& size,
                              const CallContext& context) {
  std::uint32_t parts = 0;
  for (std::size_t first = 0; first < packs.size(); first += packs_in_part) {
    Bytes content;
    ByteWriter out(content);
    for (std::size_t i = first; i < std::min(packs.size(), first + packs_in_part); ++i) {
      out.raw(packs[i].id);
      out.u64(packs[i].size);
    }
    Digest digest{};
    size += repository.put(backup_packs_key(label, parts++), ObjectKind::backup_packs, content, context, &digest);
    digests.push_back(digest);
  }
  return parts;
}

Digest digest_of_parts(const std::vector<Digest>& parts) {
  Sha256 hash;
  for (const Digest& part : parts)
    hash.update(part);
  return hash.finish();
}

std::optional<BackupHead> read_head(const BackupRepository& repository, const std::string& label,
                                    const CallContext& context) {
  const auto content = repository.get(backup_head_key(label), ObjectKind::backup_head, max_head_size, context);
  if (!content) return {};
  BackupHead head = decode_head(as_text(*content));
  if (head.label != label || head.system_identifier != repository.system_identifier)
    throw Error(ErrorKind::corrupt, "the manifest of backup " + label + " is that of another backup");
  return head;
}

std::vector<std::string> list_backup_labels(const BackupRepository& repository, const CallContext& context) {
  ListRequest request;
  request.prefix = repository.key("backup/");
  request.one_level = true;
  std::vector<std::string> labels;
  do {
    ListPage page = repository.store.list(request, context);
    for (const std::string& prefix : page.prefixes) {
      std::string label = prefix.substr(request.prefix.size());
      label.pop_back();
      if (is_backup_label(label)) labels.push_back(std::move(label));
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return labels;
}

std::vector<std::string> names_below(const BackupRepository& repository, const std::string& directory,
                                     const CallContext& context) {
  std::vector<std::string> names;
  const std::size_t root = repository.key("").size();
  ListRequest request;
  request.prefix = repository.key(directory);
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      names.push_back(object.key.substr(root));
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return names;
}

} // namespace dbops::core
