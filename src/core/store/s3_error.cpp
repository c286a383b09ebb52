#include "core/store/s3_error.h"

#include "core/base/printable.h"
#include "core/store/xml.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace dbops::core {

namespace {

// Codes that mean "later again" whatever their status is.
constexpr std::array<std::string_view, 16> transient_codes{
    "SlowDown",         "ServiceUnavailable",         "InternalError",          "RequestTimeout",
    "Throttling",       "ThrottlingException",        "RequestLimitExceeded",   "BandwidthLimitExceeded",
    "OperationAborted", "ConditionalRequestConflict", "IncompleteBody",         "BadDigest",
    "TooManyRequests",  "PriorRequestNotComplete",    "ReducedRedundancyError", "XAmzContentSHA256Mismatch"};
constexpr std::array<std::string_view, 2> expired_codes{"ExpiredToken", "ExpiredTokenException"};
constexpr std::array<std::string_view, 4> region_codes{
    "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"};

template <std::size_t Size>
bool contains(const std::array<std::string_view, Size>& codes, std::string_view code) {
  return std::ranges::find(codes, code) != codes.end();
}

std::optional<milliseconds> retry_after(const HttpResponse& response) {
  const auto value = response.header("Retry-After");
  long seconds = 0; // the form with a date is not used by stores
  if (!value || std::from_chars(value->data(), value->data() + value->size(), seconds).ec != std::errc() || seconds < 0)
    return {};
  return milliseconds(std::min(seconds, 3600L) * 1000);
}

std::string describe(const HttpResponse& response, const S3Error& error, const std::string& where) {
  std::string text = where + ": status " + std::to_string(response.status);
  if (!error.code.empty()) text += " " + error.code;
  if (!error.message.empty()) text += ": " + error.message;
  if (!error.request_id.empty()) text += " (request " + error.request_id + ")";
  return text;
}

[[noreturn]] void throw_wrong_region(const std::string& text, const HttpResponse& response, const S3Error& error,
                                     const std::string& region) {
  const std::string theirs =
      error.region.empty() ? std::string(response.header("x-amz-bucket-region").value_or("")) : error.region;
  throw Error(ErrorKind::configuration, text,
              theirs.empty() ? "The bucket is in another region than \"" + region + "\", or at another endpoint."
                             : "The bucket is in region \"" + theirs + "\", the store URL says \"" + region + "\".");
}

std::string hint_for_denied(const S3Error& error, const HttpResponse& response) {
  if (error.code == "RequestTimeTooSkewed")
    return "The clocks of this machine and of the store differ too much; the store says " +
           std::string(response.header("Date").value_or("nothing")) + ".";
  if (error.code == "SignatureDoesNotMatch") return "The secret access key does not belong to the access key id.";
  if (error.code == "InvalidAccessKeyId" || error.code == "InvalidToken")
    return "The store does not know these credentials.";
  return "The credentials need permission to get, put and list objects below the prefix. Without permission to list, "
         "S3 answers 403 also for an object that is not there.";
}

} // namespace

S3Error parse_s3_error(const HttpResponse& response) {
  try {
    const XmlElement root = parse_xml(as_text(response.body));
    // STS and some stores wrap it.
    const XmlElement* const error = root.name == "Error" ? &root : root.child("Error");
    if (error == nullptr) return {};
    const XmlElement& with_request = error->child("RequestId") != nullptr ? *error : root;
    return {printable(error->child_text("Code"), 100), printable(error->child_text("Message")),
            printable(error->child_text("Region"), 100), printable(with_request.child_text("RequestId"), 100)};
  } catch (const Error&) {
    return {};
  }
}

S3Verdict judge(int status, std::string_view code, bool has_body) {
  if (status >= 200 && status < 300) return S3Verdict::success;
  if (contains(expired_codes, code)) return S3Verdict::expired;
  if (contains(transient_codes, code)) return S3Verdict::transient;
  if (status == 404 && code == "NoSuchUpload") return S3Verdict::no_such_upload;
  if (status == 404 && (code == "NoSuchKey" || !has_body)) return S3Verdict::no_such_object;
  if (status == 404 && code.empty()) // some proxy's, not the store's word
    return S3Verdict::transient;
  if (status == 412) return S3Verdict::exists;
  if (status == 416) return S3Verdict::beyond_end;
  if (status == 501) return S3Verdict::not_implemented;
  const bool is_transient = status == 408 || status == 429 || (status >= 500 && status != 505 && status != 507);
  return is_transient ? S3Verdict::transient : S3Verdict::refused;
}

void throw_s3_error(S3Verdict verdict, const HttpResponse& response, const S3Error& error, const std::string& where,
                    const std::string& region) {
  const std::string text = describe(response, error, where);
  const int status = response.status;
  if (verdict == S3Verdict::transient || verdict == S3Verdict::expired)
    throw TransientError(text, retry_after(response));
  if (contains(region_codes, error.code) || status == 301 || status == 307)
    throw_wrong_region(text, response, error, region);
  if (error.code == "QuotaExceeded" || status == 507)
    throw Error(ErrorKind::no_space, text, "The quota of the bucket or of the user is used up.");
  if (error.code == "NoSuchBucket")
    throw Error(ErrorKind::configuration, text, "Create the bucket, or correct the store URL.");
  if (status == 401 || status == 403) throw Error(ErrorKind::access_denied, text, hint_for_denied(error, response));
  throw Error(ErrorKind::configuration, text);
}

} // namespace dbops::core
