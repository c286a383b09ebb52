#include "core/base/thread_pool.h"

#include "core/base/log.h"

#include <atomic>
#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

namespace dbops::core {
namespace {

TEST(ThreadPool, ResultsAndExceptionsComeBack) {
  ThreadPool pool(3);
  std::vector<std::future<int>> futures;
  for (int i = 0; i < 100; ++i)
    futures.push_back(pool.submit([i](const std::stop_token&) { return i * i; }));
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(futures[std::size_t(i)].get(), i * i);
  auto failing = pool.submit([](const std::stop_token&) -> int { throw std::runtime_error("x"); });
  EXPECT_THROW(failing.get(), std::runtime_error);
}

TEST(ThreadPool, ThreadsGetNoSignals) {
  ThreadPool pool(1);
  const bool blocked = pool.submit([](const std::stop_token&) {
                             sigset_t mask;
                             pthread_sigmask(SIG_BLOCK, nullptr, &mask);
                             return sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGURG) == 1;
                           })
                           .get();
  EXPECT_TRUE(blocked);
  sigset_t mine;
  pthread_sigmask(SIG_BLOCK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGTERM), 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__) // they need address space
TEST(ThreadPoolDeathTest, AThreadThatCannotBeCreatedIsAnError) {
  const auto create_too_many = [] {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t room = 40 << 20; // bytes: for a few stacks of 8 MB
    const rlim_t limit = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + room;
    const rlimit address_space{.rlim_cur = limit, .rlim_max = limit}, stack{.rlim_cur = 8 << 20, .rlim_max = 8 << 20};
    ::setrlimit(RLIMIT_STACK, &stack);
    ::setrlimit(RLIMIT_AS, &address_space);
    try {
      ThreadPool(1).submit([](const std::stop_token&) {}).get();
      ThreadPool pool(64);
      ::_exit(1);
    } catch (const std::system_error&) {
      ::_exit(42);
    }
  };
  EXPECT_EXIT(create_too_many(), testing::ExitedWithCode(42), "");
}
#endif

TEST(ThreadPool, SaysWhenItHasEnded) {
  ThreadPool pool(2);
  std::promise<void> go;
  pool.submit([wait = go.get_future().share()](const std::stop_token&) { wait.get(); });
  pool.request_stop();
  EXPECT_FALSE(pool.ended());
  go.set_value();
  EXPECT_TRUE(pool.shutdown(SteadyTime::max()));
  EXPECT_TRUE(pool.ended());
}

TEST(ThreadPool, StopReachesTheTasks) {
  auto pool = std::make_unique<ThreadPool>(1);
  std::atomic<bool> started = false;
  auto waiting = pool->submit([&](const std::stop_token& stop) {
    started = true;
    SystemClock().sleep_for(std::chrono::hours(1), stop);
    return 1;
  });
  auto never = pool->submit([](const std::stop_token&) { return 2; });
  while (!started)
    std::this_thread::yield();
  EXPECT_TRUE(pool->shutdown(std::chrono::steady_clock::now() + std::chrono::minutes(10)));
  EXPECT_EQ(waiting.get(), 1);
  EXPECT_THROW(never.get(), std::future_error);
}

TEST(ThreadPool, ShutdownIsBounded) {
  auto release = std::make_shared<std::atomic<bool>>(false);
  auto started = std::make_shared<std::atomic<bool>>(false);
  auto done = std::make_shared<std::atomic<bool>>(false);
  {
    ThreadPool pool(1);
    pool.submit([=](const std::stop_token&) {
      *started = true;
      while (!*release) // deaf to the stop
        std::this_thread::yield();
      *done = true;
    });
    while (!*started)
      std::this_thread::yield();
    EXPECT_FALSE(pool.shutdown(std::chrono::steady_clock::now() + std::chrono::milliseconds(50)));
  }
  *release = true;
  while (!*done)
    std::this_thread::yield();
}

TEST(LogQueue, IsBoundedAndCountsWhatItDrops) {
  int woken = 0;
  LogQueue queue(2, [&] { ++woken; });
  for (int i = 0; i < 5; ++i)
    queue.push({LogLevel::info, std::to_string(i)});
  const auto drained = queue.drain();
  ASSERT_EQ(drained.messages.size(), 2U);
  EXPECT_EQ(drained.messages[1].text, "1");
  EXPECT_EQ(drained.dropped, 3U);
  EXPECT_EQ(woken, 5);
  EXPECT_EQ(queue.drain().dropped, 0U);
}

TEST(SystemClock, SleepEndsWithAStop) {
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  const auto start = std::chrono::steady_clock::now();
  SystemClock().sleep_for(std::chrono::minutes(10), stop.get_token());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(10));
}

TEST(Time, IsoForms) {
  const auto time = parse_iso8601("2026-11-21T10:04:50.123Z");
  ASSERT_TRUE(time);
  EXPECT_EQ(iso8601_basic(*time), "20261121T100450Z");
  EXPECT_EQ(iso8601_basic(*parse_iso8601("1969-12-31T23:59:59Z")), "19691231T235959Z");
  for (const char* text : {"", "2026-11-21", "2026-11-21T10:04:50", "2026-13-21T10:04:50Z", "2026-02-30T10:04:50Z",
                           "2026-11-21T10:04:50+01:00", "-026-11-21T10:04:50Z", "2026-11-21T24:04:50Z"})
    EXPECT_FALSE(parse_iso8601(text)) << text;
}

} // namespace
} // namespace dbops::core
