#include "core/backup/damaged_packs.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::string_view prefix = "damaged/";

} // namespace

std::string damaged_key(const PackId& id) {
  return std::string(prefix) + to_hex(id);
}

std::vector<PackId> damaged_packs(const BackupRepository& repository, const CallContext& context) {
  std::vector<PackId> packs;
  ListRequest request;
  request.prefix = repository.key(std::string(prefix));
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const std::string hex = object.key.substr(request.prefix.size());
      if (hex.size() == 2 * PackId().size())
        if (const auto id = parse_pack_key("pack/" + hex.substr(0, 2) + "/" + hex)) packs.push_back(*id);
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  std::ranges::sort(packs);
  return packs;
}

} // namespace dbops::core
