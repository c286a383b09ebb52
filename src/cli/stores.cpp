#include "cli/stores.h"

#include "core/base/error.h"
#include "core/store/open_store.h"

#include <csignal>
#include <cstdlib>
#include <mutex>

namespace dbops::cli {

namespace {

// Opened by the first call, and by each that follows until it succeeds: a repository that cannot even be opened must
// not keep another from being read. Used by one thread.
class DeferredStore final : public core::ObjectStore {
 public:
  DeferredStore(core::StoreUrl url, std::string shown, core::StoreSetup setup)
      : url_(std::move(url)), shown_(std::move(shown)), setup_(std::move(setup)) {}

  core::PutResult put_if_absent(const std::string& key, core::ByteView body,
                                const core::CallContext& context) override {
    return store().put_if_absent(key, body, context);
  }
  std::unique_ptr<core::ObjectUpload> begin_upload(const std::string& key, std::size_t head_size,
                                                   const core::CallContext& context) override {
    return store().begin_upload(key, head_size, context);
  }
  std::optional<core::Bytes> get(const std::string& key, const core::ByteRange& range,
                                 const core::CallContext& context) override {
    return store().get(key, range, context);
  }
  std::optional<core::ObjectInfo> head(const std::string& key, const core::CallContext& context) override {
    return store().head(key, context);
  }
  core::ListPage list(const core::ListRequest& request, const core::CallContext& context) override {
    return store().list(request, context);
  }
  void remove(const std::string& key, const core::CallContext& context) override { store().remove(key, context); }
  [[nodiscard]] std::string describe() const override { return shown_; }

 private:
  core::ObjectStore& store() {
    const std::lock_guard lock(mutex_);
    if (!store_) store_ = core::open_store(url_, setup_);
    return *store_;
  }

  core::StoreUrl url_;
  std::string shown_;
  core::StoreSetup setup_;
  std::mutex mutex_;
  std::unique_ptr<core::ObjectStore> store_;
};

std::optional<std::string> environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

} // namespace

std::vector<std::string> StoreSettings::urls() const {
  std::vector<std::string> urls;
  for (const std::string& url : {store, offsite_store})
    if (!url.empty()) urls.push_back(url);
  return urls;
}

Stores::Stores(const StoreSettings& settings, const core::RetryPolicy& retry) {
  // OpenSSL writes to a connection that the store has reset without MSG_NOSIGNAL: that is an error to try again after,
  // not the end of this process.
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> urls = settings.urls();
  if (urls.empty())
    throw core::Error(core::ErrorKind::configuration, "no store is named",
                      "Give --store or set DBOPS_STORE, e.g. to s3://bucket/prefix or file:///path.");
  if (!settings.key_file.empty()) keys_ = core::KeyRing::read(settings.key_file);
  for (const std::string& url : urls)
    stores_.push_back(std::make_unique<DeferredStore>(core::parse_store_url(url), url,
                                                      core::StoreSetup{.clock = clock_,
                                                                       .random = random_,
                                                                       .environment = environment,
                                                                       .credentials_file = settings.credentials_file,
                                                                       .retry = retry,
                                                                       .log = {}}));
}

} // namespace dbops::cli
