// The keys that objects are encrypted with: a text file outside the data directory and outside the store.
//
//   # comment
//   current = 2026-11
//   2026-05 = 6f1c...   (64 hexadecimal digits: 32 random bytes, e.g. of `openssl rand -hex 32`)
//   2026-11 = 9a20...
//
// New objects use the current key; the others open older objects. `current` may be absent when there is one key.
#pragma once

#include "core/crypto/aead.h"
#include "core/crypto/hash.h"

#include <filesystem>
#include <map>
#include <string>

namespace dbops::core {

// The two keys that are derived from one line of the file, so that no key serves two purposes.
class EncryptionKey {
 public:
  EncryptionKey(std::string id, const AesKey& master);
  EncryptionKey(const EncryptionKey&) = default;
  EncryptionKey& operator=(const EncryptionKey&) = default;
  ~EncryptionKey();

  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  // Wraps the key of an object: HMAC-SHA-256(master, "dbops key wrap 1").
  [[nodiscard]] const AesKey& wrap() const noexcept { return wrap_; }
  // Keys the content digest: HMAC-SHA-256(master, "dbops content digest 1").
  [[nodiscard]] const AesKey& digest() const noexcept { return digest_; }

 private:
  std::string id_;
  AesKey wrap_, digest_;
};

class KeyRing {
 public:
  // Throws Error(configuration) naming the line; never quotes it.
  static KeyRing parse(std::string_view text);

  // Refuses a file that others than its owner (and the group, when root owns it) may read.
  // Throws Error(configuration), or what reading it throws.
  static KeyRing read(const std::filesystem::path& path);

  [[nodiscard]] const EncryptionKey& current() const { return keys_.at(current_); }
  // Throws Error(key_missing) naming the id.
  [[nodiscard]] const EncryptionKey& get(const std::string& id) const;

 private:
  std::map<std::string, EncryptionKey> keys_;
  std::string current_;
};

} // namespace dbops::core
