// What every object store must do: in memory, in files, on a real S3 server over http, https and in a bucket in which
// the server ignores conditional puts.
#include "core/base/error.h"
#include "core/store/file_store.h"
#include "core/store/memory_store.h"
#include "s3_fixture.h"
#include "unit/temporary_directory.h"

#include <gtest/gtest.h>
#include <thread>

namespace dbops::core {
namespace {

struct Case {
  const char* name;
  const char* endpoint_variable; // null: not S3
  const char* bucket = "dbops-test";
  bool atomic = true; // two writers at one time cannot both create
};

void PrintTo(const Case& value, std::ostream* out) {
  *out << value.name;
}

class StoreContract : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& parameter = GetParam();
    if (parameter.endpoint_variable == nullptr) {
      if (std::string(parameter.name) == "Memory")
        owned_ = std::make_unique<MemoryStore>(clock_);
      else
        owned_ = std::make_unique<FileStore>(directory_.path(), random_);
      store_ = owned_.get();
      return;
    }
    if (variable(parameter.endpoint_variable).empty()) GTEST_SKIP() << "no S3 server";
    S3Url url = test_url(variable(parameter.endpoint_variable));
    url.bucket = parameter.bucket;
    s3_ = std::make_unique<S3Under>(url);
    store_ = &s3_->store;
  }

  std::vector<std::string> all_keys(ListRequest request) {
    std::vector<std::string> keys;
    for (int pages = 0; pages < 100; ++pages) {
      ListPage page = store_->list(request, {});
      EXPECT_LE(page.objects.size() + page.prefixes.size(), request.limit);
      for (const ObjectInfo& object : page.objects)
        keys.push_back(object.key);
      keys.insert(keys.end(), page.prefixes.begin(), page.prefixes.end());
      request.continuation = page.continuation;
      if (page.continuation.empty()) break;
    }
    return keys;
  }
  void put(const std::string& key, std::string_view text) { store_->put_if_absent(key, as_bytes(text), {}); }

  SystemClock clock_;
  SystemRandom random_;
  TemporaryDirectory directory_;
  std::unique_ptr<ObjectStore> owned_;
  std::unique_ptr<S3Under> s3_;
  ObjectStore* store_ = nullptr;
};

using Keys = std::vector<std::string>;

TEST_P(StoreContract, PutThenGetAndHead) {
  EXPECT_EQ(store_->put_if_absent("a/b", as_bytes("hello"), {}), PutResult::created);
  EXPECT_EQ(as_text(store_->get("a/b", {}, {}).value()), "hello");
  const auto info = store_->head("a/b", {});
  ASSERT_TRUE(info);
  EXPECT_EQ(info->size, 5U);
  EXPECT_EQ(info->key, "a/b");
  EXPECT_LT(std::chrono::abs(info->modified - clock_.wall_now()), std::chrono::minutes(5));
}

TEST_P(StoreContract, AnObjectIsNeverChanged) {
  put("k", "first");
  EXPECT_EQ(store_->put_if_absent("k", as_bytes("second"), {}), PutResult::exists);
  EXPECT_EQ(store_->put_if_absent("k", as_bytes("first"), {}), PutResult::exists);
  EXPECT_EQ(as_text(store_->get("k", {}, {}).value()), "first");
}

TEST_P(StoreContract, WhatIsNotThere) {
  EXPECT_FALSE(store_->get("none", {}, {}));
  EXPECT_FALSE(store_->get("none/below", {.offset = 5, .length = 7}, {}));
  EXPECT_FALSE(store_->get("none", {.offset = 0, .length = 0}, {}));
  EXPECT_FALSE(store_->head("none", {}));
  EXPECT_NO_THROW(store_->remove("none", {}));
}

TEST_P(StoreContract, Ranges) {
  put("k", "0123456789");
  const auto range = [&](std::uint64_t offset, std::optional<std::uint64_t> length) {
    return std::string(as_text(store_->get("k", {offset, length}, {}).value()));
  };
  EXPECT_EQ(range(0, 3), "012");
  EXPECT_EQ(range(3, {}), "3456789");
  EXPECT_EQ(range(8, 10), "89");
  EXPECT_EQ(range(10, 1), "");
  EXPECT_EQ(range(99, {}), "");
  EXPECT_EQ(range(2, 0), "");
}

TEST_P(StoreContract, EmptyObject) {
  put("empty", "");
  EXPECT_EQ(store_->get("empty", {}, {}).value().size(), 0U);
  EXPECT_EQ(store_->get("empty", {.offset = 0, .length = 4096}, {}).value().size(), 0U);
  EXPECT_EQ(store_->head("empty", {}).value().size, 0U);
}

TEST_P(StoreContract, RemovedIsGone) {
  put("k", "v");
  store_->remove("k", {});
  EXPECT_FALSE(store_->head("k", {}));
  EXPECT_EQ(store_->put_if_absent("k", as_bytes("again"), {}), PutResult::created);
}

TEST_P(StoreContract, KeysThatNeedEncoding) {
  for (const char* key : {"a b+c", "p%25/q&r=s?", "x(1)'!*~@:,;$", "\"<>#[]{}|^`\\"}) {
    EXPECT_EQ(store_->put_if_absent(key, as_bytes(key), {}), PutResult::created) << key;
    EXPECT_EQ(as_text(store_->get(key, {}, {}).value()), key);
  }
  EXPECT_EQ(all_keys({.limit = 2}).size(), store_->list({}, {}).objects.size());
}

TEST_P(StoreContract, KeysThatNoStoreMayHave) {
  for (const char* key : {"", "/a", "a/", "a//b", "a/../b", "./a", ".hidden", "a\nb", "\xc3\xa9"})
    EXPECT_THROW(store_->put_if_absent(key, as_bytes("x"), {}), Error) << key;
}

TEST_P(StoreContract, ListInByteOrderByPages) {
  // "a.z" < "a/b" < "a0": a directory sorts as its name with a slash
  for (const char* key : {"a/b", "a/c/d", "a.z", "a0", "b", "a/c/e"})
    put(key, "x");
  const Keys expected{"a.z", "a/b", "a/c/d", "a/c/e", "a0", "b"};
  for (const std::size_t limit : {1, 2, 3, 5, 6, 7}) {
    ListRequest request;
    request.limit = limit;
    EXPECT_EQ(all_keys(request), expected) << limit;
  }
  ListRequest below;
  below.prefix = "a/c";
  EXPECT_EQ(all_keys(below), (Keys{"a/c/d", "a/c/e"}));
  ListRequest none;
  none.prefix = "zzz/";
  EXPECT_EQ(all_keys(none), Keys());
  EXPECT_EQ(store_->list(below, {}).objects.front().size, 1U);
}

TEST_P(StoreContract, ListBehindAKey) {
  for (const char* key : {"a/1", "a/2", "a/3/x", "b/1"})
    put(key, "x");
  ListRequest request;
  request.prefix = "a/";
  request.start_after = "a/1";
  request.limit = 1;
  EXPECT_EQ(all_keys(request), (Keys{"a/2", "a/3/x"}));
  request.start_after = "a/2zzz"; // need not exist
  EXPECT_EQ(all_keys(request), (Keys{"a/3/x"}));
  request.start_after = "a/3/x";
  EXPECT_EQ(all_keys(request), Keys());
}

TEST_P(StoreContract, ListOneLevel) {
  for (const char* key : {"w/1/a", "w/1/b", "w/2/a", "w/x", "v"})
    put(key, "x");
  for (const std::size_t limit : {1, 2, 1000}) {
    ListRequest request;
    request.prefix = "w/";
    request.one_level = true;
    request.limit = limit;
    Keys keys = all_keys(request);
    std::sort(keys.begin(), keys.end());
    EXPECT_EQ(keys, (Keys{"w/1/", "w/2/", "w/x"})) << limit;
  }
}

TEST_P(StoreContract, ALargeObject) {
  Bytes body(12 << 20);
  random_.fill(body);
  EXPECT_EQ(store_->put_if_absent("large", body, {}), PutResult::created);
  EXPECT_EQ(store_->get("large", {}, {}).value(), body);
  EXPECT_EQ(store_->put_if_absent("large", ByteView(body).first(11 << 20), {}), PutResult::exists);
  EXPECT_EQ(store_->head("large", {}).value().size, body.size());
}

TEST_P(StoreContract, ManyWritersOneWinner) {
  if (!GetParam().atomic) GTEST_SKIP() << "this store cannot";
  for (int round = 0; round < 10; ++round) {
    const std::string key = "race/" + std::to_string(round);
    std::atomic<int> created = 0, winner = -1;
    {
      std::vector<std::jthread> writers;
      for (int i = 0; i < 8; ++i)
        writers.emplace_back([&, i] {
          if (store_->put_if_absent(key, as_bytes("writer " + std::to_string(i)), {}) == PutResult::created) {
            ++created;
            winner = i;
          }
        });
    }
    EXPECT_EQ(created, 1);
    EXPECT_EQ(as_text(store_->get(key, {}, {}).value()), "writer " + std::to_string(winner));
  }
}

TEST_P(StoreContract, AStopRequestedBeforeIsHonoured) {
  if (std::string(GetParam().name) == "Memory") GTEST_SKIP() << "never waits";
  std::stop_source stop;
  stop.request_stop();
  try {
    store_->get("k", {}, {.stop = stop.get_token()});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::cancelled);
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreContract,
                         testing::Values(Case{"Memory", nullptr}, Case{"File", nullptr}, Case{"S3", "S3_ENDPOINT"},
                                         Case{"S3OverTls", "S3_TLS_ENDPOINT"},
                                         Case{"S3WithoutConditionalPut", "S3_ENDPOINT", "dbops-versioned", false},
                                         Case{"S3BehindAProxy", "S3_PROXY_ENDPOINT"}),
                         [](const auto& info) { return std::string(info.param.name); });

} // namespace
} // namespace dbops::core
