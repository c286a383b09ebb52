// What dbops needs of an object store. Objects are immutable: a key is written once and never again.
#pragma once

#include "core/base/bytes.h"
#include "core/base/clock.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

struct ObjectInfo {
  std::string key;
  std::uint64_t size = 0; // bytes
  WallTime modified;      // by the store's clock
};

struct ByteRange {
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length = {}; // absent: to the end
};

struct ListRequest {
  std::string prefix = {};       // of the key, not of a path component: "wal/0000" finds "wal/00000001/..."
  std::string start_after = {};  // only keys behind this one, in byte order; empty: all
  std::string continuation = {}; // of the previous page; empty: the first page
  bool one_level = false;        // group what lies behind the next "/" after the prefix into ListPage::prefixes
  std::size_t limit = 1000;      // objects and prefixes in one page, 1..1000
};

struct ListPage {
  std::vector<ObjectInfo> objects;   // in byte order of the key
  std::vector<std::string> prefixes; // in byte order, each ends with "/"
  std::string continuation;          // empty: this was the last page
};

enum class PutResult {
  created, // durable now
  exists,  // the key is taken and durable; by which content is for the caller to find out. After a lost answer and a
           // retry it may be the caller's own.
};

// An object that is written piece by piece. Nothing of it can be seen before finish(), and nothing is left of it when
// it is destroyed before that. For one thread at a time; throws what ObjectStore throws.
class ObjectUpload {
 public:
  ObjectUpload() = default;
  virtual ~ObjectUpload() = default;
  ObjectUpload(const ObjectUpload&) = delete;
  ObjectUpload& operator=(const ObjectUpload&) = delete;

  // What follows the head, in order.
  virtual void write(ByteView bytes) = 0;
  // As put_if_absent(). head: of exactly the size announced; what goes in front of all that was written.
  virtual PutResult finish(ByteView head) = 0;
};

// Every call may be made from several threads, waits at most until context.deadline, and throws Error: cancelled,
// unavailable (retries exhausted), access_denied, configuration, corrupt, no_space or io.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // Never changes an object that exists. Returns only when the object is durable.
  virtual PutResult put_if_absent(const std::string& key, ByteView body, const CallContext& context) = 0;

  // The same for an object that is not in memory as a whole. Here it is gathered in memory; a store that can do better
  // does. context: for all calls of the upload.
  virtual std::unique_ptr<ObjectUpload> begin_upload(const std::string& key, std::size_t head_size,
                                                     const CallContext& context);

  // Absent: the store says that there is no such object. A range at or beyond the end gives no bytes, one that reaches
  // beyond it gives what there is.
  virtual std::optional<Bytes> get(const std::string& key, const ByteRange& range, const CallContext& context) = 0;

  virtual std::optional<ObjectInfo> head(const std::string& key, const CallContext& context) = 0;

  // Of an object that is there: returns only when it is durable, which it may not be when its writer was ended between
  // its name and its fsync. A store that shows only what is durable has nothing to do.
  virtual void make_durable(const std::string& /*key*/, const CallContext& /*context*/) {}

  virtual ListPage list(const ListRequest& request, const CallContext& context) = 0;

  // Removing what is not there is success.
  virtual void remove(const std::string& key, const CallContext& context) = 0;

  // For messages; without secrets.
  [[nodiscard]] virtual std::string describe() const = 0;
};

// Throws Error(configuration) unless the key is 1 to 900 bytes of components of printable ASCII that are divided by
// "/", none empty and none beginning with a dot.
void validate_key(std::string_view key);

// Fills one page from keys that are offered in byte order; the stores that do not page by themselves share it.
class ListPageBuilder {
 public:
  explicit ListPageBuilder(const ListRequest& request) : request_(request) {}

  // No key below this one can be wanted.
  [[nodiscard]] std::string first_wanted() const;
  // Could a key that begins with `directory` (which ends with "/") be wanted?
  [[nodiscard]] bool may_contain(std::string_view directory) const;
  // False: the page is full, no more keys are needed.
  bool offer(ObjectInfo info);
  ListPage take() { return std::move(page_); }

 private:
  [[nodiscard]] bool is_before_page(std::string_view key) const;
  bool add_to_full_page();

  const ListRequest& request_;
  ListPage page_;
  std::string last_; // key or prefix that was added last
};

} // namespace dbops::core
