#include "core/store/open_store.h"

#include "core/http/curl_client.h"
#include "core/store/file_store.h"
#include "core/store/remote_credentials.h"
#include "core/store/s3_store.h"

namespace dbops::core {

namespace {

HttpOptions metadata_options() {
  HttpOptions options;
  options.use_proxy = false;
  options.connect_timeout = milliseconds(1000); // off a cloud machine the address does not answer
  return options;
}

HttpOptions store_options(const S3Url& url) {
  HttpOptions options;
  options.ca_file = url.ca_file;
  options.verify_tls = url.verify_tls;
  return options;
}

S3Url with_region(S3Url url, const Environment& environment) {
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"})
    if (url.region.empty()) url.region = environment(name).value_or("");
  if (url.region.empty()) url.region = "us-east-1";
  return url;
}

// A store together with all it needs.
class OwningS3Store final : public ObjectStore {
 public:
  OwningS3Store(const S3Url& url, const StoreSetup& setup)
      : store_http_(store_options(url), setup.clock), internet_http_(HttpOptions(), setup.clock),
        metadata_http_(metadata_options(), setup.clock),
        credentials_(default_credentials_sources({.file = setup.credentials_file,
                                                  .environment = setup.environment,
                                                  .region = url.region,
                                                  .internet = &internet_http_,
                                                  .metadata = &metadata_http_,
                                                  .clock = &setup.clock,
                                                  .on_instance = is_ec2_instance()}),
                     setup.clock),
        store_(url, {store_http_, credentials_, setup.clock, setup.random, setup.retry, setup.log}) {}

  PutResult put_if_absent(const std::string& key, ByteView body, const CallContext& context) override {
    return store_.put_if_absent(key, body, context);
  }
  std::unique_ptr<ObjectUpload> begin_upload(const std::string& key, std::size_t head_size,
                                             const CallContext& context) override {
    return store_.begin_upload(key, head_size, context);
  }
  std::optional<Bytes> get(const std::string& key, const ByteRange& range, const CallContext& context) override {
    return store_.get(key, range, context);
  }
  std::optional<ObjectInfo> head(const std::string& key, const CallContext& context) override {
    return store_.head(key, context);
  }
  ListPage list(const ListRequest& request, const CallContext& context) override {
    return store_.list(request, context);
  }
  void remove(const std::string& key, const CallContext& context) override { store_.remove(key, context); }
  [[nodiscard]] std::string describe() const override { return store_.describe(); }

 private:
  CurlClient store_http_, internet_http_, metadata_http_;
  CredentialsChain credentials_;
  S3Store store_;
};

} // namespace

std::unique_ptr<ObjectStore> open_store(const StoreUrl& url, const StoreSetup& setup) {
  if (const auto* const file = std::get_if<FileUrl>(&url)) return std::make_unique<FileStore>(file->path, setup.random);
  return std::make_unique<OwningS3Store>(with_region(std::get<S3Url>(url), setup.environment), setup);
}

} // namespace dbops::core
