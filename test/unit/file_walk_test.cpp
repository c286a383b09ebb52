#include "core/backup/file_walk.h"

#include "core/base/error.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <functional>
#include <gtest/gtest.h>

namespace dbops::core {
namespace {

namespace fs = std::filesystem;

class FileWalk : public testing::Test {
 protected:
  FileWalk() : data_(root_.path() / "data") {
    fs::create_directories(data_ / "base/5");
    fs::create_directories(data_ / "pg_tblspc");
    fs::create_directories(root_.path() / "disk" / version / "5");
    write_file(root_.path() / "disk" / version / "5/16385", as_bytes("x"));
    write_file(data_ / "base/5/16384", as_bytes("x"));
  }

  std::vector<std::string> walk() {
    std::vector<std::string> paths;
    walk_data_directory({.data_directory = data_,
                         .tablespace_version_directory = version,
                         .skipped = [this](const std::string& path) { skipped_.push_back(path); },
                         .look_again =
                             [this] {
                               ++looks_;
                               if (on_look_) on_look_();
                             }},
                        [&](const FileEntry& entry) { paths.push_back(entry.path); });
    return paths;
  }
  void tablespace(const std::string& place) {
    fs::create_directory_symlink(root_.path() / place, data_ / "pg_tblspc/16400");
  }

  static constexpr const char* version = "PG_15_202209061";
  TemporaryDirectory root_;
  fs::path data_;
  std::vector<std::string> skipped_;
  int looks_ = 0;
  std::function<void()> on_look_;
};

TEST_F(FileWalk, TablespacesAreFollowed) {
  tablespace("disk");
  const std::vector<std::string> wanted{"base",
                                        "base/5",
                                        "base/5/16384",
                                        "pg_tblspc",
                                        "pg_tblspc/16400",
                                        "pg_tblspc/16400/PG_15_202209061",
                                        "pg_tblspc/16400/PG_15_202209061/5",
                                        "pg_tblspc/16400/PG_15_202209061/5/16385"};
  EXPECT_EQ(walk(), wanted);
  EXPECT_EQ(looks_, 0);
}

TEST_F(FileWalk, ATablespaceThatIsNotMountedIsRefused) {
  tablespace("nowhere");
  EXPECT_THROW(walk(), Error);
  EXPECT_GT(looks_, 0) << "it was looked at again";
  fs::create_directories(root_.path() / "nowhere/lost+found");
  EXPECT_THROW(walk(), Error) << "an empty mount point";
}

TEST_F(FileWalk, ATablespaceThatIsDroppedMeanwhileIsLeftOut) {
  tablespace("nowhere");
  on_look_ = [this] { fs::remove(data_ / "pg_tblspc/16400"); };
  EXPECT_EQ(walk(), (std::vector<std::string>{"base", "base/5", "base/5/16384", "pg_tblspc"}));
}

TEST_F(FileWalk, ATablespaceThatComesLateIsTaken) {
  tablespace("later");
  on_look_ = [this] { fs::create_directories(root_.path() / "later" / version); };
  EXPECT_EQ(walk().size(), 6U);
}

TEST_F(FileWalk, DataBehindALinkIsRefused) {
  fs::create_directory_symlink(root_.path() / "disk", data_ / "base/16384");
  EXPECT_THROW(walk(), Error);
  fs::remove(data_ / "base/16384");
  fs::create_symlink(data_ / "base/5/16384", data_ / "base/5/16386");
  EXPECT_THROW(walk(), Error) << "a file";
}

TEST_F(FileWalk, AnotherLinkToADirectoryIsToldOf) {
  fs::create_directory_symlink(root_.path() / "disk", data_ / "log");
  walk();
  EXPECT_EQ(skipped_, std::vector<std::string>{"log/"});
}

} // namespace
} // namespace dbops::core
