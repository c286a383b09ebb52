// The directories of drills, while others look for those that killed drills have left.
#include "cli/drill_scratch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace dbops::cli {
namespace {

namespace fs = std::filesystem;

TEST(DrillScratch, OfOneThatLivesOrKeepsItIsNotRemoved) {
  std::string name = (fs::temp_directory_path() / "dbops-test-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  const fs::path parent = name;
  std::atomic<bool> end{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 2; ++i)
    others.emplace_back([&] {
      while (!end)
        remove_dead_drills(
            parent, [](const fs::path&) { return true; }, [](const std::string&) {});
    });
  int lost = 0, removed = 0;
  for (int i = 0; i < 400; ++i) {
    fs::path path;
    {
      DrillScratch scratch(parent);
      path = scratch.path();
      if (!fs::exists(path / "drill.lock")) ++lost;
      scratch.keep();
    }
    std::this_thread::yield();
    if (!fs::exists(path)) ++removed;
    fs::remove_all(path);
  }
  end = true;
  for (std::thread& other : others)
    other.join();
  EXPECT_EQ(lost, 0);
  EXPECT_EQ(removed, 0);
  fs::remove_all(parent);
}

TEST(DrillScratch, OfOneThatHasEndedIsRemovedUnlessItsServerStays) {
  std::string name = (fs::temp_directory_path() / "dbops-test-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  fs::path left;
  {
    const DrillScratch scratch(name);
    left = scratch.path();
  }
  std::string said;
  const auto say = [&](const std::string& text) { said += text; };
  remove_dead_drills(
      name, [](const fs::path&) { return false; }, say);
  EXPECT_TRUE(fs::exists(left));
  EXPECT_NE(said.find("could not be stopped"), std::string::npos) << said;
  remove_dead_drills(
      name,
      [&](const fs::path& data) {
        EXPECT_EQ(data, left / "data");
        return true;
      },
      say);
  EXPECT_FALSE(fs::exists(left));
  fs::remove_all(name);
}

} // namespace
} // namespace dbops::cli
