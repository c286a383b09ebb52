// The repositories that a command works with.
#pragma once

#include "core/base/clock.h"
#include "core/crypto/key_file.h"
#include "core/crypto/random.h"
#include "core/store/object_store.h"
#include "core/store/retry.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dbops::cli {

// Options and environment: DBOPS_STORE, DBOPS_OFFSITE_STORE, DBOPS_KEY_FILE, DBOPS_CREDENTIALS_FILE.
struct StoreSettings {
  std::string store, offsite_store; // URLs; empty: none
  std::string key_file;             // empty: only what is not encrypted can be read
  std::string credentials_file;     // in AWS's format; empty: see default_credentials_sources()
  std::optional<std::uint64_t> system_identifier;

  // In the order in which they are asked.
  [[nodiscard]] std::vector<std::string> urls() const;
};

class Stores {
 public:
  // Makes no request. Throws core::Error, configuration when no store is named.
  Stores(const StoreSettings& settings, const core::RetryPolicy& retry);

  [[nodiscard]] const std::vector<std::unique_ptr<core::ObjectStore>>& all() const noexcept { return stores_; }
  [[nodiscard]] const core::KeyRing* keys() const noexcept { return keys_ ? &*keys_ : nullptr; }
  core::Clock& clock() noexcept { return clock_; }
  core::Random& random() noexcept { return random_; }

 private:
  core::SystemClock clock_;
  core::SystemRandom random_;
  std::optional<core::KeyRing> keys_;
  std::vector<std::unique_ptr<core::ObjectStore>> stores_;
};

} // namespace dbops::cli
