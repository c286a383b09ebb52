#include "core/store/s3_multipart.h"

#include "core/store/xml.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::size_t max_parts = 10000;
constexpr std::size_t parts_at_once = 2;
constexpr milliseconds abort_time(5000); // what an abort may add to a shutdown
constexpr std::size_t compared_size = 4096;

} // namespace

bool begins_with(S3Client& client, const std::string& key, ByteView start, const CallContext& context) {
  const ByteView wanted = start.first(std::min(start.size(), compared_size));
  S3Call call{.method = "GET", .key = key};
  call.max_response = compared_size;
  // An empty object has no range; of another one, one byte more than its size asks for no more than there is.
  call.headers.push_back({"Range", "bytes=0-" + std::to_string(compared_size - 1)});
  const S3Answer answer = client.call(call, context);
  if (answer.verdict == S3Verdict::beyond_end) return start.empty();
  if (answer.verdict != S3Verdict::success) return false;
  const ByteView there = answer.http.body;
  return std::ranges::equal(there.first(std::min(there.size(), wanted.size())), wanted);
}

bool is_taken(S3Client& client, const std::string& key, const CallContext& context) {
  S3Call call{.method = "GET", .key = key};
  call.headers.push_back({"Range", "bytes=0-0"});
  const S3Verdict verdict = client.call(call, context).verdict;
  return verdict == S3Verdict::success || verdict == S3Verdict::beyond_end; // of an empty one
}

S3PartUpload::S3PartUpload(S3Client& client, std::string key, bool conditional, CallContext context)
    : client_(client), key_(std::move(key)), conditional_(conditional), context_(std::move(context)),
      threads_(parts_at_once) {
  S3Call call{.method = "POST", .key = key_, .query = {{"uploads", ""}}};
  if (client_.url().send_checksum) call.headers.push_back({"x-amz-checksum-algorithm", "SHA256"});
  const S3Answer answer = client_.call(call, context_);
  if (answer.verdict == S3Verdict::success) id_ = parse_xml(as_text(answer.http.body)).child_text("UploadId");
  if (id_.empty())
    throw Error(ErrorKind::configuration, client_.where(key_) + ": the store does not begin a multipart upload");
}

S3PartUpload::~S3PartUpload() {
  if (ended_) return;
  stop_sending();
  abort();
}

// The threads refer to this object: none may be left when it goes. A request under way ends at once when it is stopped.
void S3PartUpload::stop_sending() noexcept {
  threads_.shutdown(SteadyTime::max());
  sending_.clear();
}

S3PartUpload::Part S3PartUpload::send(std::size_t number, ByteView body, const CallContext& context) {
  S3Call call{
      .method = "PUT", .key = key_, .query = {{"partNumber", std::to_string(number)}, {"uploadId", id_}}, .body = body};
  Part part;
  if (client_.url().send_checksum) {
    call.body_digest = sha256(body);
    part.checksum = to_base64(*call.body_digest);
    call.headers.push_back({"x-amz-checksum-sha256", part.checksum});
    call.headers.push_back({"x-amz-sdk-checksum-algorithm", "SHA256"});
  }
  const S3Answer answer = client_.call(call, context);
  part.etag = answer.http.header("ETag").value_or("");
  if (answer.verdict != S3Verdict::success || part.etag.empty())
    throw Error(ErrorKind::unavailable,
                client_.where(key_) + ": the store did not take part " + std::to_string(number));
  return part;
}

void S3PartUpload::wait_for_one() {
  Sending oldest = std::move(sending_.front());
  sending_.pop_front();
  parts_.at(oldest.number - 1) = oldest.result.get();
}

void S3PartUpload::add_part(Bytes body) {
  if (parts_.size() >= max_parts)
    throw Error(ErrorKind::configuration, client_.where(key_) + ": the object has more parts than S3 allows",
                "Raise part-size in the URL of the store.");
  parts_.emplace_back();
  if (parts_.size() == 1) {
    first_ = std::move(body);
    return;
  }
  if (sending_.size() >= parts_at_once) wait_for_one();
  const std::size_t number = parts_.size();
  sending_.push_back({number, threads_.submit([this, number, body = std::move(body)](const std::stop_token& stop) {
                        // Either the caller stops, or this object is given up.
                        std::stop_source either;
                        const std::stop_callback by_caller(context_.stop, [&] { either.request_stop(); });
                        const std::stop_callback by_owner(stop, [&] { either.request_stop(); });
                        return send(number, body, {.stop = either.get_token(), .deadline = context_.deadline});
                      })});
}

std::string S3PartUpload::part_list() const {
  std::string xml = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    xml += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>" + parts_[i].etag + "</ETag>";
    if (!parts_[i].checksum.empty()) xml += "<ChecksumSHA256>" + parts_[i].checksum + "</ChecksumSHA256>";
    xml += "</Part>";
  }
  return xml + "</CompleteMultipartUpload>";
}

bool S3PartUpload::is_there() {
  return is_taken(client_, key_, context_);
}

bool S3PartUpload::is_ours() {
  return begins_with(client_, key_, first_, context_);
}

PutResult S3PartUpload::complete() {
  if (is_there()) return PutResult::exists; // and the upload is aborted
  const std::string xml = part_list();
  S3Call call{.method = "POST",
              .key = key_,
              .query = {{"uploadId", id_}},
              .headers = {{"Content-Type", "application/xml"}},
              .body = as_bytes(xml),
              .error_in_success = true};
  if (conditional_) call.headers.push_back({"If-None-Match", "*"});
  const S3Verdict verdict = client_.call(call, context_).verdict;
  if (verdict == S3Verdict::exists) return PutResult::exists;
  ended_ = true;
  if (verdict == S3Verdict::success) return is_ours() ? PutResult::created : PutResult::exists;
  // Completed before, and the answer was lost; or somebody aborted it.
  if (is_there()) return PutResult::exists;
  throw Error(ErrorKind::unavailable, client_.where(key_) + ": the store lost a multipart upload before its end");
}

PutResult S3PartUpload::finish(ByteView head) {
  std::ranges::copy(head, first_.begin());
  parts_.front() = send(1, first_, context_);
  while (!sending_.empty())
    wait_for_one();
  return complete();
}

void S3PartUpload::abort() noexcept {
  try {
    // Also after a stop of the caller.
    client_.call({.method = "DELETE", .key = key_, .query = {{"uploadId", id_}}}, client_.bounded(abort_time));
  } catch (...) { // NOLINT(bugprone-empty-catch): the caller is told of what went wrong first
  }
}

} // namespace dbops::core
