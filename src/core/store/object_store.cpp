#include "core/store/object_store.h"

#include "core/base/error.h"

#include <algorithm>
#include <stdexcept>

namespace dbops::core {

namespace {

constexpr std::size_t max_key_length = 900; // S3's limit is 1024 with the prefix of the store

bool valid_component(std::string_view component) {
  return !component.empty() && component.front() != '.' &&
         std::ranges::all_of(component, [](char c) { return c >= ' ' && c <= '~'; });
}

class GatheredUpload final : public ObjectUpload {
 public:
  GatheredUpload(ObjectStore& store, std::string key, std::size_t head_size, CallContext context)
      : store_(store), key_(std::move(key)), context_(std::move(context)), head_size_(head_size), body_(head_size) {}
  void write(ByteView bytes) override { append(body_, bytes); }
  PutResult finish(ByteView head) override {
    if (head.size() != head_size_) throw std::logic_error("an object's head has another size than announced");
    std::ranges::copy(head, body_.begin());
    return store_.put_if_absent(key_, body_, context_);
  }

 private:
  ObjectStore& store_;
  std::string key_;
  CallContext context_;
  std::size_t head_size_;
  Bytes body_;
};

} // namespace

std::unique_ptr<ObjectUpload> ObjectStore::begin_upload(const std::string& key, std::size_t head_size,
                                                        const CallContext& context) {
  return std::make_unique<GatheredUpload>(*this, key, head_size, context);
}

void validate_key(std::string_view key) {
  bool valid = !key.empty() && key.size() <= max_key_length;
  for (std::string_view rest = key; valid;) {
    const auto slash = rest.find('/');
    valid = valid_component(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (!valid) throw Error(ErrorKind::configuration, "\"" + std::string(key) + "\" cannot be the key of an object");
}

std::string ListPageBuilder::first_wanted() const {
  return std::max({request_.prefix, request_.start_after, request_.continuation});
}

bool ListPageBuilder::may_contain(std::string_view directory) const {
  const std::string_view prefix = request_.prefix;
  if (!prefix.starts_with(directory) && !directory.starts_with(prefix)) return false;
  const auto all_before = [&](std::string_view after) { return directory < after && !after.starts_with(directory); };
  return !all_before(request_.start_after) && !all_before(request_.continuation);
}

bool ListPageBuilder::is_before_page(std::string_view key) const {
  if (!request_.start_after.empty() && key <= request_.start_after) return true;
  const std::string_view seen = request_.continuation;
  // A continuation that ends with "/" is a prefix that the previous page listed.
  return !seen.empty() && (key <= seen || (seen.back() == '/' && key.starts_with(seen)));
}

bool ListPageBuilder::add_to_full_page() {
  page_.continuation = last_;
  return false;
}

bool ListPageBuilder::offer(ObjectInfo info) {
  const std::string_view key = info.key;
  if (!key.starts_with(request_.prefix) || is_before_page(key)) return true;
  const auto slash = request_.one_level ? key.find('/', request_.prefix.size()) : std::string_view::npos;
  const bool is_prefix = slash != std::string_view::npos;
  const std::string_view group = is_prefix ? key.substr(0, slash + 1) : std::string_view();
  if (is_prefix && last_ == group) return true;
  if (page_.objects.size() + page_.prefixes.size() >= request_.limit) return add_to_full_page();
  last_ = is_prefix ? group : key;
  if (is_prefix)
    page_.prefixes.emplace_back(group);
  else
    page_.objects.push_back(std::move(info));
  return true;
}

} // namespace dbops::core
