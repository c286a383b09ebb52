// What an answer of an S3 store that is not a success means.
#pragma once

#include "core/base/error.h"
#include "core/http/http.h"

#include <string>
#include <string_view>

namespace dbops::core {

// The fields of an <Error> document; empty when the answer had none.
struct S3Error {
  std::string code, message, region, request_id;
};

// Never throws: a proxy's HTML gives an empty error.
S3Error parse_s3_error(const HttpResponse& response);

enum class S3Verdict {
  success,         // 2xx
  no_such_object,  // 404 and the store's word that only the object is missing
  exists,          // 412 of a conditional request
  beyond_end,      // 416: the range begins at or behind the end
  no_such_upload,  // the multipart upload was completed or aborted before
  not_implemented, // the store does not know the condition of a conditional request
  transient,       // later again: 5xx, 429, SlowDown, a body damaged on its way ...
  expired,         // the credentials are too old
  refused,         // anything else: no other try helps until a person acts
};

// has_body: false for HEAD, whose 404 does not say what is missing (taken for the object).
S3Verdict judge(int status, std::string_view code, bool has_body);

// The exception for `transient` and `refused`. where: "s3://bucket/key". Carries the store's own message.
[[noreturn]] void throw_s3_error(S3Verdict verdict, const HttpResponse& response, const S3Error& error,
                                 const std::string& where, const std::string& region);

} // namespace dbops::core
