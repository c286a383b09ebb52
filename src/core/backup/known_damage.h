// What verifications have found to be damaged, and none has found to be whole since.
#pragma once

#include "core/backup/evidence.h"
#include "core/backup/pack.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

class KnownDamage {
 public:
  // Reads the records of verifications and the list of damaged packs. repository must outlive it.
  KnownDamage(const BackupRepository& repository, const CallContext& context);

  // What is wrong with a backup, for people. Also of one that no verification has named, but that refers to a pack
  // which is known to be damaged.
  [[nodiscard]] std::optional<std::string> of(const BackupHead& head, const CallContext& context) const;
  // What a verification has said, by label.
  [[nodiscard]] const std::map<std::string, FoundDamage>& named() const noexcept { return named_; }
  // Sorted.
  [[nodiscard]] const std::vector<PackId>& packs() const noexcept { return packs_; }
  // The place of the last verification in their order.
  [[nodiscard]] WallTime last_order() const noexcept { return last_order_; }

 private:
  const BackupRepository& repository_;
  std::map<std::string, FoundDamage> named_;
  std::vector<PackId> packs_;
  WallTime last_order_{};
};

} // namespace dbops::core
