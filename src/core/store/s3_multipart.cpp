#include "core/store/s3_multipart.h"

#include "core/store/xml.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr std::uint64_t max_parts = 10000;
constexpr milliseconds abort_time(5000); // what an abort may add to a shutdown

struct Part {
  std::string etag;
  std::string checksum; // base 64; empty when none is sent
};

class Upload {
 public:
  Upload(S3Client& client, const std::string& key, const CallContext& context);
  void put_part(ByteView body, const CallContext& context);
  S3Answer complete(bool conditional, const CallContext& context);
  void abort() noexcept;

 private:
  [[nodiscard]] bool checksums() const { return client_.url().send_checksum; }
  [[nodiscard]] std::string part_list() const;

  S3Client& client_;
  const std::string& key_;
  std::string id_;
  std::vector<Part> parts_;
};

Upload::Upload(S3Client& client, const std::string& key, const CallContext& context) : client_(client), key_(key) {
  S3Call call{.method = "POST", .key = key, .query = {{"uploads", ""}}};
  if (checksums()) call.headers.push_back({"x-amz-checksum-algorithm", "SHA256"});
  const S3Answer answer = client_.call(call, context);
  if (answer.verdict == S3Verdict::success) id_ = parse_xml(as_text(answer.http.body)).child_text("UploadId");
  if (id_.empty())
    throw Error(ErrorKind::configuration, client_.where(key_) + ": the store does not begin a multipart upload");
}

void Upload::put_part(ByteView body, const CallContext& context) {
  const std::string number = std::to_string(parts_.size() + 1);
  S3Call call{.method = "PUT", .key = key_, .query = {{"partNumber", number}, {"uploadId", id_}}, .body = body};
  Part part;
  if (checksums()) {
    call.body_digest = sha256(body);
    part.checksum = to_base64(*call.body_digest);
    call.headers.push_back({"x-amz-checksum-sha256", part.checksum});
    call.headers.push_back({"x-amz-sdk-checksum-algorithm", "SHA256"});
  }
  const S3Answer answer = client_.call(call, context);
  part.etag = answer.http.header("ETag").value_or("");
  if (answer.verdict != S3Verdict::success || part.etag.empty())
    throw Error(ErrorKind::unavailable, client_.where(key_) + ": the store did not take part " + number);
  parts_.push_back(std::move(part));
}

std::string Upload::part_list() const {
  std::string xml = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    xml += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>" + parts_[i].etag + "</ETag>";
    if (!parts_[i].checksum.empty()) xml += "<ChecksumSHA256>" + parts_[i].checksum + "</ChecksumSHA256>";
    xml += "</Part>";
  }
  return xml + "</CompleteMultipartUpload>";
}

S3Answer Upload::complete(bool conditional, const CallContext& context) {
  const std::string xml = part_list();
  S3Call call{.method = "POST",
              .key = key_,
              .query = {{"uploadId", id_}},
              .headers = {{"Content-Type", "application/xml"}},
              .body = as_bytes(xml),
              .error_in_success = true};
  if (conditional) call.headers.push_back({"If-None-Match", "*"});
  return client_.call(call, context);
}

void Upload::abort() noexcept {
  try {
    // Also after a stop of the caller.
    client_.call({.method = "DELETE", .key = key_, .query = {{"uploadId", id_}}}, client_.bounded(abort_time));
  } catch (...) { // NOLINT(bugprone-empty-catch): the caller is told of what went wrong first
  }
}

bool is_there(S3Client& client, const std::string& key, const CallContext& context) {
  return client.call({.method = "HEAD", .key = key}, context).verdict == S3Verdict::success;
}

PutResult finish(Upload& upload, S3Client& client, const std::string& key, bool conditional,
                 const CallContext& context) {
  if (is_there(client, key, context)) {
    upload.abort();
    return PutResult::exists;
  }
  const S3Answer answer = upload.complete(conditional, context);
  if (answer.verdict == S3Verdict::success) return PutResult::created;
  if (answer.verdict == S3Verdict::exists) upload.abort();
  // Completed before, and the answer was lost; or somebody aborted it.
  if (answer.verdict == S3Verdict::exists || is_there(client, key, context)) return PutResult::exists;
  throw Error(ErrorKind::unavailable, client.where(key) + ": the store lost a multipart upload before its end");
}

} // namespace

PutResult put_in_parts(S3Client& client, const std::string& key, ByteView body, bool conditional,
                       const CallContext& context) {
  if (is_there(client, key, context)) return PutResult::exists;
  const std::uint64_t part_size =
      std::max<std::uint64_t>(client.url().part_size, (body.size() + max_parts - 1) / max_parts);
  Upload upload(client, key, context);
  try {
    for (ByteView rest = body; !rest.empty();) {
      const ByteView part = rest.first(std::size_t(std::min<std::uint64_t>(part_size, rest.size())));
      upload.put_part(part, context);
      rest = rest.subspan(part.size());
    }
    return finish(upload, client, key, conditional, context);
  } catch (...) {
    upload.abort();
    throw;
  }
}

} // namespace dbops::core
