// AWS Signature Version 4 in the Authorization header.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
#pragma once

#include "core/crypto/secret.h"
#include "core/http/http.h"

#include <string>
#include <vector>

namespace dbops::core {

struct Credentials {
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token; // empty: none
};

struct SigningScope {
  std::string region;
  std::string service = "s3";
};

// What is signed. `path` is as it stands in the request line, encoded once.
struct SignedRequest {
  std::string method;
  std::string path;
  std::vector<QueryParameter> query;
  std::vector<HttpHeader> headers; // all that are to be signed, "host" and "x-amz-date" among them
  std::string payload_hash;        // lower-case hexadecimal SHA-256, or UNSIGNED-PAYLOAD
};

std::string canonical_request(const SignedRequest& request);

// The query in the order and encoding in which it is signed; to be sent exactly so.
std::string canonical_query(std::vector<QueryParameter> query);

// Value of the Authorization header. time: must be that of the x-amz-date header.
std::string authorization_header(const SignedRequest& request, const Credentials& credentials,
                                 const SigningScope& scope, WallTime time);

} // namespace dbops::core
