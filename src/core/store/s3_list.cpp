#include "core/store/s3_list.h"

#include "core/base/error.h"
#include "core/http/http.h"
#include "core/store/xml.h"

#include <charconv>

namespace dbops::core {

namespace {

[[noreturn]] void malformed(const char* what) {
  throw Error(ErrorKind::corrupt, std::string("the store's list of objects ") + what);
}

std::string key_below(std::string_view root, const std::string& encoded) {
  // Stores differ in whether a space comes as "+" or "%20"; a plus sign itself is always encoded.
  std::string text = encoded;
  for (char& c : text)
    c = c == '+' ? ' ' : c;
  const std::string key = uri_decode(text);
  if (!key.starts_with(root)) malformed("has a key outside of what was asked for");
  return key.substr(root.size());
}

ObjectInfo parse_object(const XmlElement& contents, std::string_view root) {
  ObjectInfo info;
  info.key = key_below(root, contents.child_text("Key"));
  const std::string size = contents.child_text("Size");
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), info.size);
  if (size.empty() || error != std::errc() || end != size.data() + size.size())
    malformed("has an object without a size");
  info.modified = parse_iso8601(contents.child_text("LastModified")).value_or(WallTime());
  return info;
}

} // namespace

ListPage parse_list_answer(std::string_view body, std::string_view root) {
  const XmlElement result = parse_xml(body);
  if (result.name != "ListBucketResult") malformed("is another document");
  const bool encoded = result.child_text("EncodingType") == "url";
  if (!encoded) malformed("is not encoded as it was asked for");
  ListPage page;
  for (const XmlElement& element : result.children) {
    if (element.name == "Contents")
      page.objects.push_back(parse_object(element, root));
    else if (element.name == "CommonPrefixes")
      page.prefixes.push_back(key_below(root, element.child_text("Prefix")));
  }
  if (result.child_text("IsTruncated") == "true") {
    page.continuation = result.child_text("NextContinuationToken");
    if (page.continuation.empty()) malformed("is cut short without a way to go on");
  }
  return page;
}

} // namespace dbops::core
