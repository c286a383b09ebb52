#include "core/wal/wal_fetch.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace dbops::core {

namespace {

constexpr int attempts_at_damage = 3;

WalFetchResult fetch_once(WalReader& reader, const WalFileName& file, const std::filesystem::path& temporary,
                          const CallContext& context) {
  File out = File::open(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  const WalFetchResult result = reader.fetch(
      file, [&](ByteView piece) { out.write(piece); }, context);
  out.close();
  return result;
}

} // namespace

WalFetchResult fetch_to_file(WalReader& reader, const WalFileName& file, const std::filesystem::path& target,
                             const CallContext& context) {
  struct Temporary {
    std::filesystem::path path;
    ~Temporary() { ::unlink(path.c_str()); }
  } const temporary{target.string() + ".dbops-" + std::to_string(::getpid())};
  for (int attempt = 1;; ++attempt) {
    try {
      const WalFetchResult result = fetch_once(reader, file, temporary.path, context);
      const bool complete = result == WalFetchResult::whole || result == WalFetchResult::padded;
      if (complete && ::rename(temporary.path.c_str(), target.c_str()) != 0)
        throw system_error(errno, "could not rename a file to \"" + target.string() + "\"");
      return result;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt || attempt == attempts_at_damage) throw;
    }
  }
}

} // namespace dbops::core
