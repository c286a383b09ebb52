#include "core/backup/known_damage.h"

#include "core/backup/catalogue_cache.h"
#include "core/backup/damaged_packs.h"
#include "core/base/error.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr unsigned readers = 32; // requests at a time: small objects, so that the time is that of the way

} // namespace

KnownDamage::KnownDamage(const BackupRepository& repository, const CallContext& context)
    : repository_(repository), packs_(damaged_packs(repository, context)) {
  const std::vector<VerifyRecord> records = CatalogueCache().verifications(repository, readers, context);
  named_ = proofs_of({}, records).damaged;
  for (const VerifyRecord& record : records)
    last_order_ = std::max(last_order_, record.order.value_or(record.at));
}

std::optional<std::string> KnownDamage::of(const BackupHead& head, const CallContext& context) const {
  if (const auto found = named_.find(head.label); found != named_.end()) return describe(found->second);
  if (packs_.empty()) return {};
  try {
    std::vector<Digest> digests;
    for (const PackInfo& pack : read_pack_list(repository_, head, digests, context))
      if (std::ranges::binary_search(packs_, pack.id))
        return "it refers to \"" + pack_key(pack.id) + "\", which was found to be damaged or missing";
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found) throw;
    return error.what();
  }
  return {};
}

} // namespace dbops::core
