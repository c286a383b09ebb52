// What an operator writes: store URLs, credentials files, key files, times.
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/crypto/key_file.h"
#include "core/store/credentials.h"
#include "core/store/s3_client.h"

using namespace dbops::core;

namespace {

template <class Parse>
void expect_error_at_most(const Parse& parse) {
  try {
    parse();
  } catch (const Error&) {
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  expect_error_at_most([&] {
    StoreUrl url = parse_store_url(text);
    if (auto* const s3 = std::get_if<S3Url>(&url)) {
      s3->region = "r";
      const S3Address address(*s3);
      (void)address.url(address.path("k"), "");
    }
  });
  expect_error_at_most([&] { (void)KeyRing::parse(text).current(); });
  expect_error_at_most([&] { parse_aws_profile(text, "default"); });
  expect_error_at_most([&] { uri_decode(text); });
  parse_iso8601(text);
  return 0;
}
