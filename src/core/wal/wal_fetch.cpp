#include "core/wal/wal_fetch.h"

#include "core/base/clock.h"
#include "core/crypto/random.h"
#include "core/wal/archive_reader.h"

namespace dbops::core {

WalFetchResult fetch_to_file(WalReader& reader, const WalFileName& file, const std::filesystem::path& target,
                             const CallContext& context) {
  SystemClock clock;
  SystemRandom random;
  RestoreFile out(target);
  const WalFetchResult result = ArchiveReader({&reader}, clock, random).fetch(file, out, context);
  if (result == WalFetchResult::whole || result == WalFetchResult::padded) out.commit();
  return result;
}

} // namespace dbops::core
