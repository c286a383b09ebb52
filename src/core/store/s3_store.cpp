#include "core/store/s3_store.h"

#include "core/store/s3_list.h"
#include "core/store/s3_multipart.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace dbops::core {

namespace {

// Not a key that validate_key() admits, so no object of a caller has it. Lists leave it out.
constexpr std::string_view probe_key = ".dbops-conditional-put-probe";
constexpr std::string_view probe_text = "dbops asks whether this store honours If-None-Match\n";
constexpr std::uint64_t max_list_answer = 8 << 20; // 1000 keys of 900 bytes, three times encoded

std::string range_header(const ByteRange& range) {
  return "bytes=" + std::to_string(range.offset) + "-" +
         (range.length ? std::to_string(range.offset + *range.length - 1) : std::string());
}

// What of the body lies in the range: a store that ignored the header sent all of it.
Bytes body_of_range(HttpResponse& response, const ByteRange& range) {
  if (response.status == 206) return std::move(response.body);
  const ByteView whole = response.body;
  const ByteView from = whole.subspan(std::size_t(std::min<std::uint64_t>(range.offset, whole.size())));
  const ByteView part =
      from.first(std::size_t(std::min<std::uint64_t>(range.length.value_or(from.size()), from.size())));
  return {part.begin(), part.end()};
}

// Verdicts that make sense for another kind of request only.
void require_success(const S3Answer& answer, const std::string& where) {
  if (answer.verdict != S3Verdict::success)
    throw Error(ErrorKind::configuration,
                where + ": unexpected status " + std::to_string(answer.http.status) + " from the store");
}

} // namespace

S3Store::S3Store(S3Url url, S3ClientSetup setup)
    : client_(std::move(url), std::move(setup)),
      root_(client_.url().prefix.empty() ? std::string() : client_.url().prefix + "/") {}

std::string S3Store::describe() const {
  return "s3://" + client_.url().bucket + "/" + client_.url().prefix + " at " + client_.address().endpoint();
}

S3Call S3Store::put_call(const std::string& full_key, ByteView body, bool conditional) const {
  S3Call call{
      .method = "PUT", .key = full_key, .headers = {{"Content-Type", "application/octet-stream"}}, .body = body};
  if (conditional) call.headers.push_back({"If-None-Match", "*"});
  call.body_digest = sha256(body);
  if (client_.url().send_checksum) {
    call.headers.push_back({"x-amz-checksum-sha256", to_base64(*call.body_digest)});
    call.headers.push_back({"x-amz-sdk-checksum-algorithm", "SHA256"});
  }
  return call;
}

ConditionalPut S3Store::probe(const CallContext& context) {
  // The same bytes each time, so that overwriting them does no harm. The second put is needed only where the object was
  // not there; both are conditional, because a bucket's policy may refuse others.
  const S3Call put = put_call(full(std::string(probe_key)), as_bytes(probe_text), true);
  for (int i = 0; i < 2; ++i) {
    const S3Verdict verdict = client_.call(put, context).verdict;
    if (verdict == S3Verdict::exists) return ConditionalPut::honoured;
    if (verdict != S3Verdict::success) break;
  }
  return ConditionalPut::ignored;
}

ConditionalPut S3Store::conditional_put(const CallContext& context) {
  const std::lock_guard lock(mutex_);
  if (!conditional_put_)
    conditional_put_ = client_.url().probe_conditional_put ? probe(context) : ConditionalPut::ignored;
  return *conditional_put_;
}

PutResult S3Store::put_whole(const std::string& full_key, ByteView body, bool conditional, const CallContext& context) {
  if (!conditional && is_taken(client_, full_key, context)) return PutResult::exists;
  const S3Answer answer = client_.call(put_call(full_key, body, conditional), context);
  if (answer.verdict == S3Verdict::exists) return PutResult::exists;
  if (answer.verdict != S3Verdict::success)
    throw Error(ErrorKind::unavailable, client_.where(full_key) + ": the store answers a put with status " +
                                            std::to_string(answer.http.status));
  return conditional || begins_with(client_, full_key, body, context) ? PutResult::created : PutResult::exists;
}

// Gathered in memory up to the threshold, then in parts.
class S3Store::Upload final : public ObjectUpload {
 public:
  Upload(S3Store& store, std::string full_key, std::size_t head_size, CallContext context)
      : store_(store), key_(std::move(full_key)), head_size_(head_size), context_(std::move(context)),
        buffer_(head_size) {}

  void write(ByteView bytes) override {
    if (exists_) return;
    // Growing by doubling would take half as much again for a moment. What is reserved takes no memory until it is
    // used.
    if (!parts_ && buffer_.size() + bytes.size() > std::max<std::size_t>(buffer_.capacity(), 1 << 20))
      buffer_.reserve(url().multipart_threshold + bytes.size());
    append(buffer_, bytes);
    if (!parts_ && buffer_.size() > url().multipart_threshold) begin_parts();
    if (parts_) send_parts();
  }

  PutResult finish(ByteView head) override {
    if (head.size() != head_size_) throw std::logic_error("an object's head has another size than announced");
    if (exists_) return PutResult::exists;
    if (parts_) {
      parts_->add_part(std::exchange(buffer_, {}));
      return parts_->finish(head);
    }
    std::ranges::copy(head, buffer_.begin());
    return store_.put_whole(key_, buffer_, is_conditional(), context_);
  }

 private:
  [[nodiscard]] const S3Url& url() const { return store_.client_.url(); }
  [[nodiscard]] bool is_conditional() { return store_.conditional_put(context_) == ConditionalPut::honoured; }

  void begin_parts() {
    exists_ = is_taken(store_.client_, key_, context_);
    if (!exists_) parts_.emplace(store_.client_, key_, is_conditional(), context_);
  }

  // What stays in the buffer is never empty: it becomes the last part, which may be small.
  void send_parts() {
    const std::size_t size = url().part_size;
    if (buffer_.size() <= size) return;
    ByteView rest = buffer_;
    for (; rest.size() > size; rest = rest.subspan(size))
      parts_->add_part({rest.begin(), rest.begin() + std::ptrdiff_t(size)});
    buffer_ = Bytes(rest.begin(), rest.end()); // gives the memory back
    buffer_.reserve(size + (1 << 20));
  }

  S3Store& store_;
  std::string key_;
  std::size_t head_size_;
  CallContext context_;
  Bytes buffer_;
  bool exists_ = false;
  std::optional<S3PartUpload> parts_;
};

std::unique_ptr<ObjectUpload> S3Store::begin_upload(const std::string& key, std::size_t head_size,
                                                    const CallContext& context) {
  validate_key(key);
  return std::make_unique<Upload>(*this, full(key), head_size, context);
}

PutResult S3Store::put_if_absent(const std::string& key, ByteView body, const CallContext& context) {
  validate_key(key);
  if (body.size() <= client_.url().multipart_threshold)
    return put_whole(full(key), body, conditional_put(context) == ConditionalPut::honoured, context);
  Upload upload(*this, full(key), 0, context);
  for (ByteView rest = body; !rest.empty();) {
    const ByteView piece = rest.first(std::min<std::size_t>(rest.size(), client_.url().part_size));
    upload.write(piece);
    rest = rest.subspan(piece.size());
  }
  return upload.finish({});
}

std::optional<Bytes> S3Store::get(const std::string& key, const ByteRange& range, const CallContext& context) {
  validate_key(key);
  if (range.length == 0) return head(key, context) ? std::optional(Bytes()) : std::nullopt;
  S3Call call{.method = "GET", .key = full(key)};
  call.max_response = range.length.value_or(std::uint64_t(5) << 40);
  if (range.offset > 0 || range.length) call.headers.push_back({"Range", range_header(range)});
  S3Answer answer = client_.call(call, context);
  if (answer.verdict == S3Verdict::no_such_object) return {};
  if (answer.verdict == S3Verdict::beyond_end) return Bytes();
  require_success(answer, client_.where(full(key)));
  return body_of_range(answer.http, range);
}

// A HEAD's 404 has no body to say whether the object or the bucket is missing.
void S3Store::require_bucket(const CallContext& context) {
  if (bucket_seen_) return;
  ListRequest request;
  request.limit = 1;
  list(request, context);
}

std::optional<ObjectInfo> S3Store::head(const std::string& key, const CallContext& context) {
  validate_key(key);
  const S3Answer answer = client_.call({.method = "HEAD", .key = full(key)}, context);
  if (answer.verdict == S3Verdict::no_such_object) {
    require_bucket(context);
    return {};
  }
  require_success(answer, client_.where(full(key)));
  ObjectInfo info{.key = key, .size = 0, .modified = {}};
  const std::string_view length = answer.http.header("Content-Length").value_or("");
  if (std::from_chars(length.data(), length.data() + length.size(), info.size).ec != std::errc())
    throw Error(ErrorKind::corrupt, client_.where(full(key)) + ": the store does not say how long the object is");
  info.modified = parse_http_date(std::string(answer.http.header("Last-Modified").value_or(""))).value_or(WallTime());
  return info;
}

ListPage S3Store::list(const ListRequest& request, const CallContext& context) {
  S3Call call{.method = "GET", .query = {{"list-type", "2"}, {"encoding-type", "url"}}};
  call.max_response = max_list_answer;
  call.query.push_back({"max-keys", std::to_string(request.limit)});
  call.query.push_back({"prefix", full(request.prefix)});
  if (request.one_level) call.query.push_back({"delimiter", "/"});
  if (!request.continuation.empty())
    call.query.push_back({"continuation-token", request.continuation});
  else if (!request.start_after.empty())
    call.query.push_back({"start-after", full(request.start_after)});
  const S3Answer answer = client_.call(call, context);
  require_success(answer, client_.where(full(request.prefix)));
  bucket_seen_ = true;
  ListPage page = parse_list_answer(as_text(answer.http.body), root_);
  std::erase_if(page.objects, [](const ObjectInfo& object) { return object.key == probe_key; });
  return page;
}

void S3Store::remove(const std::string& key, const CallContext& context) {
  validate_key(key);
  const S3Answer answer = client_.call({.method = "DELETE", .key = full(key)}, context);
  if (answer.verdict != S3Verdict::no_such_object) require_success(answer, client_.where(full(key)));
}

} // namespace dbops::core
