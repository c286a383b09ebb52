// Answers of an S3 server: XML of lists and errors.
#include "core/base/error.h"
#include "core/store/s3_error.h"
#include "core/store/s3_list.h"
#include "core/store/xml.h"

using namespace dbops::core;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    parse_xml(text);
  } catch (const Error&) {
  }
  try {
    for (const ObjectInfo& object : parse_list_answer(text, "p/").objects)
      validate_key(object.key);
  } catch (const Error&) {
  }
  HttpResponse response;
  response.status = 403;
  response.body = to_bytes(text);
  const S3Error error = parse_s3_error(response); // must not throw
  judge(response.status, error.code, true);
  return 0;
}
