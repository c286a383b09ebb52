// The file that restore_command makes, and what a process that died leaves of it.
#include "core/wal/restore_file.h"

#include "core/base/error.h"
#include "core/store/file_store.h"
#include "core/wal/cluster_identity.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

#include <sys/stat.h>

namespace dbops::core {
namespace {

namespace fs = std::filesystem;

std::size_t files_in(const fs::path& directory) {
  return std::size_t(std::distance(fs::directory_iterator(directory), {}));
}

TEST(RestoreFile, IsThereAsAWholeOrNotAtAll) {
  const TemporaryDirectory directory;
  const fs::path target = directory.path() / "RECOVERYXLOG";
  {
    RestoreFile out(target);
    out.write(as_bytes("wrong"));
    out.restart();
    out.write(as_bytes("right"));
    EXPECT_EQ(as_text(out.start(3)), "rig");
    EXPECT_FALSE(fs::exists(target));
    EXPECT_EQ(files_in(directory.path()), 1U);
  }
  EXPECT_EQ(files_in(directory.path()), 0U);
  RestoreFile out(target);
  out.write(as_bytes("right"));
  out.commit();
  EXPECT_EQ(as_text(read_file(target, 100)), "right");
  EXPECT_EQ(files_in(directory.path()), 1U);
  EXPECT_THROW(RestoreFile(directory.path() / "nothing" / "x"), Error);
}

TEST(RestoreFile, RemovesWhatADeadProcessLeftAndNothingElse) {
  const TemporaryDirectory directory;
  const fs::path target = directory.path() / "RECOVERYXLOG";
  write_file(directory.path() / "RECOVERYXLOG.dbops-00", as_bytes("left"));
  write_file(directory.path() / "RECOVERYHISTORY.dbops-00", as_bytes("another's"));
  write_file(directory.path() / "000000010000000000000001", as_bytes("WAL"));
  RestoreFile first(target);
  EXPECT_EQ(files_in(directory.path()), 3U);
  RestoreFile second(target); // at once: neither takes the other's away
  first.write(as_bytes("1"));
  first.commit();
  second.write(as_bytes("2"));
  second.commit();
  EXPECT_EQ(as_text(read_file(target, 100)), "2");
}

TEST(RestoreFile, FollowsTheDirectorysPermissions) {
  const TemporaryDirectory directory;
  for (const auto& [of_directory, of_file] : {std::pair(0700U, 0600U), std::pair(0750U, 0640U)}) {
    ::chmod(directory.path().c_str(), of_directory);
    RestoreFile out(directory.path() / "x");
    out.commit();
    struct stat status {};
    ASSERT_EQ(::stat((directory.path() / "x").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, of_file);
  }
}

TEST(FileStore, RemovesOldTemporaryFilesOfPutsThatDied) {
  const TemporaryDirectory directory;
  SeededRandom random;
  fs::create_directories(directory.path() / "a");
  for (const char* name : {".dbops-old", ".dbops-new", "object"})
    write_file(directory.path() / "a" / name, as_bytes("x"));
  for (const char* name : {".dbops-old", "object"})
    fs::last_write_time(directory.path() / "a" / name, fs::file_time_type::clock::now() - std::chrono::hours(25));
  FileStore(directory.path(), random).put_if_absent("a/b", as_bytes("y"), {});
  EXPECT_FALSE(fs::exists(directory.path() / "a" / ".dbops-old"));
  for (const char* name : {".dbops-new", "object", "b"})
    EXPECT_TRUE(fs::exists(directory.path() / "a" / name)) << name;
}

TEST(FileStore, AnUploadThatIsGivenUpLeavesNothing) {
  const TemporaryDirectory directory;
  SeededRandom random;
  FileStore store(directory.path(), random);
  store.begin_upload("a/b", 4, {})->write(Bytes(5000));
  EXPECT_EQ(files_in(directory.path() / "a"), 0U);
  const auto upload = store.begin_upload("a/b", 4, {});
  upload->write(as_bytes("body"));
  EXPECT_EQ(upload->finish(as_bytes("head")), PutResult::created);
  EXPECT_EQ(as_text(*store.get("a/b", {}, {})), "headbody");
  const auto again = store.begin_upload("a/b", 4, {});
  again->write(as_bytes("else"));
  EXPECT_EQ(again->finish(as_bytes("head")), PutResult::exists);
  EXPECT_EQ(as_text(*store.get("a/b", {}, {})), "headbody");
}

Bytes control_file(std::uint64_t identifier, std::uint32_t version, std::uint32_t segment_size) {
  Bytes bytes(512);
  const auto put = [&](std::size_t offset, auto value) { std::memcpy(bytes.data() + offset, &value, sizeof value); };
  put(0, identifier);
  put(8, version);
  put(200, 1234567.0); // where it is depends on the version
  put(220, segment_size);
  return bytes;
}

TEST(ClusterIdentity, FromTheControlFile) {
  const auto identity = parse_control_file(control_file(42, 1300, 64 << 20));
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->system_identifier, 42U);
  EXPECT_EQ(identity->segment_size, SegmentSize(64 << 20));
  EXPECT_EQ(parse_control_file(control_file(42, 1800, 12345))->segment_size, std::nullopt);
  EXPECT_FALSE(parse_control_file(control_file(0, 1300, 1 << 20)));
  EXPECT_FALSE(parse_control_file(control_file(42, 0, 1 << 20)));
  EXPECT_FALSE(parse_control_file(control_file(42, 0x14050000, 1 << 20))) << "of a machine of the other byte order";
  EXPECT_FALSE(parse_control_file({}));
}

TEST(ClusterIdentity, FromASegmentWhenThereIsNoControlFile) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(read_cluster_identity(directory.path()));
  fs::create_directories(directory.path() / "pg_wal");
  const SegmentSize size(1 << 20);
  write_file(directory.path() / "pg_wal" / segment_name({1, 9}, size), Bytes(1 << 20)); // made for later use
  EXPECT_FALSE(read_cluster_identity(directory.path()));
  write_file(directory.path() / "pg_wal" / segment_name({1, 3}, size), make_segment({1, 3}, size));
  const auto identity = read_cluster_identity(directory.path());
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->system_identifier, test_system_identifier);
  EXPECT_EQ(identity->segment_size, size);
}

} // namespace
} // namespace dbops::core
