#include "core/crypto/key_file.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>

namespace dbops::core {

namespace {

constexpr std::uint64_t max_key_file_size = 1 << 20;
constexpr std::size_t max_id_length = 64;

std::string_view trim(std::string_view text) {
  constexpr std::string_view blank = " \t\r";
  const auto first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

bool valid_id(std::string_view id) {
  constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !id.empty() && id.size() <= max_id_length && id != "current" &&
         id.find_first_not_of(allowed) == std::string_view::npos;
}

Error line_error(std::size_t line, std::string_view problem) {
  return {ErrorKind::configuration, "line " + std::to_string(line) + " of the key file: " + std::string(problem),
          "A key is one line: id = 64 hexadecimal digits. A line \"current = id\" names the key for new objects."};
}

AesKey parse_key(std::string_view text, std::size_t line) {
  if (text.size() != 64 || text.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
    throw line_error(line, "a key is 64 hexadecimal digits");
  Bytes bytes = from_hex(text);
  AesKey key{};
  std::copy(bytes.begin(), bytes.end(), key.begin());
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return key;
}

} // namespace

EncryptionKey::EncryptionKey(std::string id, const AesKey& master)
    : id_(std::move(id)), wrap_(hmac_sha256(master, as_bytes("dbops key wrap 1"))),
      digest_(hmac_sha256(master, as_bytes("dbops content digest 1"))) {}

EncryptionKey::~EncryptionKey() {
  OPENSSL_cleanse(wrap_.data(), wrap_.size());
  OPENSSL_cleanse(digest_.data(), digest_.size());
}

KeyRing KeyRing::parse(std::string_view text) {
  KeyRing ring;
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (line.empty() || line.front() == '#') continue;
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) throw line_error(number, "no \"=\"");
    const std::string name(trim(line.substr(0, equals)));
    const std::string_view value = trim(line.substr(equals + 1));
    if (name == "current" && ring.current_.empty() && valid_id(value))
      ring.current_ = value;
    else if (name == "current")
      throw line_error(number, "\"current\" must name a key, and stand there once");
    else if (!valid_id(name))
      throw line_error(number, "an id is 1 to 64 letters, digits, \".\", \"_\" or \"-\"");
    else if (!ring.keys_.emplace(name, EncryptionKey(name, parse_key(value, number))).second)
      throw line_error(number, "the id is there twice");
  }
  if (ring.current_.empty() && ring.keys_.size() == 1) ring.current_ = ring.keys_.begin()->first;
  if (!ring.keys_.contains(ring.current_))
    throw Error(ErrorKind::configuration, "the key file does not say which key is current",
                "Add a line \"current = id\" with the id of a key in the file.");
  return ring;
}

KeyRing KeyRing::read(const std::filesystem::path& path) {
  const auto found = File::open_if_exists(path, O_RDONLY);
  if (!found)
    throw Error(ErrorKind::configuration, "key file \"" + path.string() + "\" does not exist",
                "Put the file back, or name the place where it is (dbops.key_file, DBOPS_KEY_FILE).");
  const File& file = *found;
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0)
    throw system_error(errno, "could not stat key file \"" + path.string() + "\"");
  const mode_t forbidden = status.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
  if ((status.st_mode & forbidden) != 0)
    throw Error(ErrorKind::configuration, "key file \"" + path.string() + "\" is accessible by others than its owner",
                "Set its mode to 0600, or to 0640 when root owns it.");
  Bytes bytes(std::size_t(std::min<std::uint64_t>(file.size(), max_key_file_size)));
  bytes.resize(file.read_at(0, bytes));
  KeyRing ring = parse(as_text(bytes));
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return ring;
}

const EncryptionKey& KeyRing::get(const std::string& id) const {
  const auto key = keys_.find(id);
  if (key == keys_.end())
    throw Error(ErrorKind::key_missing, "the key file has no key \"" + id + "\"",
                "Add the key with this id to the key file; objects need the key that they were written with.");
  return key->second;
}

} // namespace dbops::core
