// An object store that speaks S3.
#pragma once

#include "core/store/object_store.h"
#include "core/store/s3_client.h"

#include <mutex>
#include <optional>

namespace dbops::core {

// How far a store can be trusted not to overwrite.
enum class ConditionalPut {
  honoured, // If-None-Match: * on an existing key is answered with 412
  ignored,  // it overwrites, or does not know the header. Then the key is looked at before each put, and what is there
            // is compared after it, so that of two writers at the same moment the one that was overwritten knows.
};

class S3Store final : public ObjectStore {
 public:
  // Makes no request.
  S3Store(S3Url url, S3ClientSetup setup);

  PutResult put_if_absent(const std::string& key, ByteView body, const CallContext& context) override;
  std::unique_ptr<ObjectUpload> begin_upload(const std::string& key, std::size_t head_size,
                                             const CallContext& context) override;
  std::optional<Bytes> get(const std::string& key, const ByteRange& range, const CallContext& context) override;
  std::optional<ObjectInfo> head(const std::string& key, const CallContext& context) override;
  ListPage list(const ListRequest& request, const CallContext& context) override;
  void remove(const std::string& key, const CallContext& context) override;
  [[nodiscard]] std::string describe() const override;

  // What the store does, found out with the object ".dbops-conditional-put-probe" at the first call and remembered. A
  // store that honours the header without atomicity (Swift 2.38) cannot be told from one that is right.
  ConditionalPut conditional_put(const CallContext& context);
  [[nodiscard]] const S3Counters& counters() const noexcept { return client_.counters(); }

 private:
  class Upload;
  [[nodiscard]] std::string full(const std::string& key) const { return root_ + key; }
  [[nodiscard]] S3Call put_call(const std::string& full_key, ByteView body, bool conditional) const;
  PutResult put_whole(const std::string& full_key, ByteView body, bool conditional, const CallContext& context);
  ConditionalPut probe(const CallContext& context);
  void require_bucket(const CallContext& context);

  S3Client client_;
  std::string root_; // prefix with its slash, or empty
  std::mutex mutex_;
  std::optional<ConditionalPut> conditional_put_;
  std::atomic<bool> bucket_seen_{false};
};

} // namespace dbops::core
