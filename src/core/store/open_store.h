// From a URL to a store.
#pragma once

#include "core/base/log.h"
#include "core/base/random.h"
#include "core/store/credentials.h"
#include "core/store/object_store.h"
#include "core/store/retry.h"
#include "core/store/store_url.h"

#include <filesystem>
#include <memory>

namespace dbops::core {

struct StoreSetup {
  Clock& clock;
  Random& random;
  Environment environment;                // AWS_* variables; never std::getenv behind the caller's back
  std::filesystem::path credentials_file; // AWS's format; empty: none
  RetryPolicy retry;
  LogSink log; // told of each retry, from any thread; may be empty
};

// Makes no request. The clock and the randomness must outlive the store. For s3:// this initialises libcurl.
// Throws Error(configuration), or Error(unavailable) when the directory of a file store is not there.
std::unique_ptr<ObjectStore> open_store(const StoreUrl& url, const StoreSetup& setup);

} // namespace dbops::core
