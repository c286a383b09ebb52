#include "core/base/error.h"
#include "core/store/file_store.h"
#include "core/store/local_credentials.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"

#include <array>
#include <atomic>
#include <climits>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace {
std::set<std::string>* fsynced = nullptr; // paths, while a test looks
}

// Instead of libc's.
extern "C" int fsync(int descriptor) {
  if (fsynced != nullptr) {
    std::array<char, PATH_MAX> path{};
    if (::readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), path.data(), path.size() - 1) > 0)
      fsynced->insert(path.data());
  }
  return int(::syscall(SYS_fsync, descriptor));
}

namespace dbops::core {
namespace {

ErrorKind failure_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::io;
}

TEST(FileStoreOutage, ADirectoryThatIsGoneIsAnOutageAndMadeAgain) {
  TemporaryDirectory place;
  SeededRandom random;
  FileStore store(place.path(), random);
  store.put_if_absent("7/wal/a", as_bytes("a"), {});
  std::filesystem::remove_all(place.path() / "7" / "wal");
  EXPECT_EQ(failure_of([&] { store.put_if_absent("7/wal/b", as_bytes("b"), {}); }), ErrorKind::unavailable);
  EXPECT_EQ(store.put_if_absent("7/wal/b", as_bytes("b"), {}), PutResult::created) << "without a restart";
}

TEST(FileStoreOutage, AStoreThatIsGoneIsAnOutage) {
  TemporaryDirectory place;
  SeededRandom random;
  FileStore store(place.path(), random);
  const auto upload = store.begin_upload("7/wal/a", 0, {});
  upload->write(as_bytes("a"));
  std::filesystem::remove_all(place.path());
  EXPECT_EQ(failure_of([&] { upload->finish({}); }), ErrorKind::unavailable);
  EXPECT_EQ(failure_of([&] { store.put_if_absent("7/wal/b", as_bytes("b"), {}); }), ErrorKind::unavailable);
}

// Whoever deletes what a list does not have must not get a part of it.
TEST(FileStoreOutage, AListThatCannotBeCompleteFails) {
  TemporaryDirectory place;
  SeededRandom random;
  FileStore store(place.path(), random);
  store.put_if_absent("7/wal/a", as_bytes("a"), {});
  std::filesystem::create_symlink("c", place.path() / "7/wal/b");
  EXPECT_EQ(store.list({}, {}).objects.size(), 1U) << "what was removed since the directory was read";
  std::filesystem::create_symlink("loop", place.path() / "7/wal/loop");
  EXPECT_THROW(store.list({}, {}), Error);
}

// As when its file system is unmounted: the list is whole, or there is none.
TEST(FileStoreOutage, AStoreThatGoesAwayWhileItIsListedHasNoShorterList) {
  TemporaryDirectory place;
  SeededRandom random;
  const std::filesystem::path here = place.path() / "store", away = place.path() / "away";
  std::filesystem::create_directory(here);
  FileStore store(here, random);
  constexpr std::size_t objects = 40;
  for (std::size_t i = 0; i < objects; ++i)
    store.put_if_absent("7/wal/" + std::to_string(i), as_bytes("a"), {});
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> spins = round * 20;
    {
      std::jthread unmount([&] {
        while (--spins > 0) {
        }
        std::filesystem::rename(here, away);
      });
      try {
        for (;;)
          ASSERT_EQ(store.list({}, {}).objects.size(), objects);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::unavailable);
      }
    }
    std::filesystem::rename(away, here);
  }
}

TEST(FileStoreOutage, MissingCredentialsAreAMistakeInTheSettings) {
  TemporaryDirectory place;
  FakeClock clock;
  FileCredentials credentials(place.path() / "none", "default", clock);
  EXPECT_EQ(failure_of([&] { credentials.fetch({}); }), ErrorKind::configuration);
}

// Its writer was ended between the name and the fsync of the directory: who acknowledges it afterwards makes up for
// that.
TEST(FileStoreOutage, WhatAnotherHasPutCanBeMadeDurable) {
  TemporaryDirectory place;
  SeededRandom random;
  std::filesystem::create_directories(place.path() / "7" / "wal");
  std::ofstream(place.path() / "7" / "wal" / "a") << "a";
  FileStore store(place.path(), random);
  std::set<std::string> paths;
  fsynced = &paths;
  static_cast<ObjectStore&>(store).make_durable("7/wal/a", {});
  fsynced = nullptr;
  const std::string root = place.path().string();
  EXPECT_EQ(paths, (std::set<std::string>{root, root + "/7", root + "/7/wal", root + "/7/wal/a"}));
  EXPECT_EQ(failure_of([&] { store.make_durable("7/wal/b", {}); }), ErrorKind::unavailable);
}

} // namespace
} // namespace dbops::core
