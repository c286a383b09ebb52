// Objects above a threshold go to S3 in parts.
#pragma once

#include "core/base/thread_pool.h"
#include "core/store/object_store.h"
#include "core/store/s3_client.h"

#include <deque>

namespace dbops::core {

// One multipart upload. Two parts are on their way at once, and the first is held back until the end, since the head of
// an object is known last: with the part that is being filled, four parts are in memory.
// An upload that does not come to its end is aborted, so that no part keeps costing money; when even that fails, the
// bucket's lifecycle rule for incomplete uploads has to.
class S3PartUpload {
 public:
  // key: with the prefix of the store. conditional: the store honours If-None-Match on a plain put; not every such
  // store does so when an upload is completed (Ceph before 20), so the key is looked at right before that, too, and
  // what is there is compared with what was sent right after.
  S3PartUpload(S3Client& client, std::string key, bool conditional, CallContext context);
  ~S3PartUpload();
  S3PartUpload(const S3PartUpload&) = delete;
  S3PartUpload& operator=(const S3PartUpload&) = delete;

  // body: of at least 5 MiB, unless it is the last. The first one is kept.
  void add_part(Bytes body);
  PutResult finish(ByteView head);

 private:
  struct Part {
    std::string etag;
    std::string checksum; // base 64; empty when none is sent
  };
  struct Sending {
    std::size_t number; // from 1
    std::future<Part> result;
  };
  Part send(std::size_t number, ByteView body, const CallContext& context);
  void wait_for_one();
  PutResult complete();
  [[nodiscard]] std::string part_list() const;
  [[nodiscard]] bool is_there();
  [[nodiscard]] bool is_ours();
  void stop_sending() noexcept;
  void abort() noexcept;

  S3Client& client_;
  std::string key_;
  bool conditional_;
  CallContext context_;
  std::string id_;
  Bytes first_;
  std::vector<Part> parts_;
  std::deque<Sending> sending_;
  ThreadPool threads_;
  bool ended_ = false;
};

// Whether there is such an object, by a GET of one byte: that nothing is there may be put over, so it takes the store's
// own word (NoSuchKey), which an answer to a HEAD has no body for. Anybody's 404 without it counts as a failure.
bool is_taken(S3Client& client, const std::string& key, const CallContext& context);

// Whether the object begins with `start`: what a store that can overwrite must be asked after a put.
bool begins_with(S3Client& client, const std::string& key, ByteView start, const CallContext& context);

} // namespace dbops::core
