#include "core/wal/offsite_backlog.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/instance.h"
#include "core/wal/layout.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <fstream>
#include <gtest/gtest.h>

namespace dbops::core {
namespace {

TEST(OffsiteBacklog, IsRememberedUntilAllIsThere) {
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_FALSE(file.read("file:///b"));
  const auto five = *parse_wal_file_name("000000010000000000000005");
  const auto three = *parse_wal_file_name("000000010000000000000003");
  file.add("file:///b", five);
  file.add("file:///b", three);
  const auto seen = file.read("file:///b");
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->after, "wal/00000001/00000000/000000010000000000000003");
  EXPECT_FALSE(seen->check);
  EXPECT_FALSE(file.read("file:///c")) << "another store lacks nothing";
  EXPECT_TRUE(file.advance(*seen, "wal/00000001/00000000/000000010000000000000004.zst"));
  file.add("file:///b", *parse_wal_file_name("000000010000000000000006"));
  EXPECT_FALSE(file.clear(*seen)) << "a file was let go meanwhile";
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_FALSE(file.read("file:///b"));
}

TEST(OffsiteBacklog, IsNotKnownToACopyOfTheDataDirectory) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  ASSERT_TRUE(file.read("file:///b"));
  EXPECT_TRUE(file.read("file:///b")->check);
  EXPECT_FALSE(file.read("file:///b")->after);
  EXPECT_TRUE(file.advance(*file.read("file:///b"), "wal/x"));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_EQ(file.read("file:///b")->after, "wal/x") << "it goes on where it was";
  EXPECT_FALSE(file.read("file:///b")->check);
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_FALSE(file.read("file:///b"));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_FALSE(file.read("file:///b"));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver)) << "promoted";
  const auto seen = file.read("file:///b");
  EXPECT_TRUE(seen && seen->check);
  EXPECT_TRUE(file.require_check("file:///c", "a 2", archiver)) << "another store";
  EXPECT_FALSE(file.clear(*seen));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver)) << "and back";
  EXPECT_FALSE(file.clear(*seen)) << "which is not as it was seen";
}

// What was let go is remembered beside the question of what else is missing: the answer to that may lie behind it.
TEST(OffsiteBacklog, AComparisonSwallowsNothingThatWasLetGo) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver;
  const auto five = *parse_wal_file_name("000000010000000000000005");
  const std::string before_five = "wal/00000001/00000000/000000010000000000000005";
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  const auto unknown = file.read("file:///b");
  file.add("file:///b", five);
  file.add("file:///b", *parse_wal_file_name("000000010000000000000006"));
  ASSERT_TRUE(file.read("file:///b"));
  EXPECT_EQ(file.read("file:///b")->after, before_five);
  EXPECT_TRUE(file.read("file:///b")->check);
  EXPECT_FALSE(file.advance(*unknown, "wal/00000001/00000000/000000010000000000000009"));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver)) << "promoted";
  EXPECT_EQ(file.read("file:///b")->after, before_five);
  EXPECT_TRUE(file.read("file:///b")->check);
  const auto seen = file.read("file:///b");
  EXPECT_TRUE(file.advance(*seen, "")) << "all is missing";
  EXPECT_FALSE(file.clear(*seen));
  ASSERT_TRUE(file.read("file:///b")) << "which is remembered";
  EXPECT_EQ(file.read("file:///b")->after, "");
  EXPECT_FALSE(file.read("file:///b")->check);
}

TEST(OffsiteBacklog, NamesWhatIsDamaged) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_TRUE(file.advance(*file.read("file:///b"), "wal/x", {"wal/b", "wal/a"}));
  EXPECT_TRUE(file.clear(*file.read("file:///b"), {"wal/a", "wal/c"}));
  EXPECT_FALSE(file.read("file:///b")) << "what is damaged holds nothing up";
  const std::vector<std::string> all{"wal/a", "wal/b", "wal/c"};
  EXPECT_EQ(file.damaged("file:///b"), all);
  EXPECT_TRUE(file.damaged("file:///c").empty()) << "of another store";
  file.tried_again("file:///b", {"wal/a", "wal/b"}, {"wal/b"});
  EXPECT_EQ(file.damaged("file:///b"), std::vector<std::string>(all.begin() + 1, all.end()));
  file.add("file:///b", *parse_wal_file_name("000000010000000000000005"));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver));
  EXPECT_EQ(file.damaged("file:///b").size(), 2U);
  std::vector<std::string> many;
  for (std::size_t i = 0; i < OffsiteBacklogFile::max_damaged; ++i)
    many.push_back("wal/00000001/00000000/" + segment_name({1, i}, SegmentSize(1 << 20)) + ".zst");
  file.tried_again("file:///b", all, {});
  EXPECT_TRUE(file.advance(*file.read("file:///b"), "wal/y", many));
  EXPECT_EQ(file.damaged("file:///b").size(), many.size());
  EXPECT_THROW(file.advance(*file.read("file:///b"), "wal/z", {"wal/one more"}), Error);
  EXPECT_EQ(file.read("file:///b")->after, "wal/y");
}

TEST(OffsiteBacklog, KnowsWhereItBegins) {
  const SegmentSize size(16 << 20);
  const std::string directory = "wal/00000001/00000000/", five = directory + "000000010000000000000005";
  const auto number = [&](const std::string& position) {
    const auto id = first_lacking_segment(position, size);
    return id ? std::optional(id->number) : std::nullopt;
  };
  EXPECT_EQ(number(five), 5U);
  EXPECT_EQ(number(five + ".zst"), 6U);
  EXPECT_EQ(number(five + ".00000028.backup"), 5U) << "comes before the segment";
  EXPECT_EQ(number(five + ".partial"), 5U);
  EXPECT_EQ(number(five + "/00000000-00002000.zst"), 5U);
  EXPECT_FALSE(number(""));
  EXPECT_FALSE(number("wal/00000002"));
  EXPECT_FALSE(number("wal/00000002.history"));
}

// A new repository: the server puts segments there before anybody has looked at what it had.
TEST(OffsiteBacklog, RemembersWhatItsServerPutThere) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver, other = OffsiteBacklogFile::Asker::other;
  const auto from = [](const char* position) { return [position] { return std::string(position); }; };
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", other, from("wal/5")));
  EXPECT_EQ(file.read("file:///b")->own_from, "wal/5");
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver, from("wal/7")));
  EXPECT_EQ(file.read("file:///b")->own_from, "wal/5") << "its own chunks are there since";
  EXPECT_FALSE(file.require_check("file:///b", "a 1", archiver, from("wal/8")));
  EXPECT_EQ(file.read("file:///b")->own_from, "wal/5");
  EXPECT_TRUE(file.advance(*file.read("file:///b"), "wal/5"));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver, from("wal/9")));
  EXPECT_EQ(file.read("file:///b")->own_from, "wal/9") << "what was before is known";
  EXPECT_TRUE(file.require_check("file:///c", "a 2", archiver, from("wal/9")));
  EXPECT_EQ(file.read("file:///c")->own_from, "wal/9");
}

TEST(OffsiteBacklog, ItsServerPutsThereWhatIsReadyAndWhatComes) {
  TemporaryDirectory place;
  const SegmentSize size(1 << 20);
  EXPECT_EQ(first_own_position(place.path(), {1, 5}, size), "wal/00000001/00000000/000000010000000000000005");
  write_file(place.path() / "000000010000000000000003.ready", Bytes{});
  write_file(place.path() / "000000010000000000000004.ready", Bytes{});
  write_file(place.path() / "000000010000000000000002.done", Bytes{});
  EXPECT_EQ(first_own_position(place.path(), {1, 5}, size), "wal/00000001/00000000/000000010000000000000003");
}

TEST(OffsiteBacklog, AFileOfBeforeSaysAllThatItSaid) {
  TemporaryDirectory place;
  std::ofstream(place.path() / "dbops.offsite_backlog") << "store = file:///b\nafter = wal/00000001/x\nrevision = 7\n";
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", OffsiteBacklogFile::Asker::archiver));
  EXPECT_EQ(file.read("file:///b")->after, "wal/00000001/x");
  EXPECT_TRUE(file.read("file:///b")->check);
  EXPECT_EQ(file.read("file:///b")->revision, 8U);
}

// dbops.offsite_store is empty for a while: files are acknowledged with the first repository alone.
TEST(OffsiteBacklog, IsNotKnownAfterATimeWithoutTheStore) {
  const WalFileName next = *parse_wal_file_name("000000010000000000000006");
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver, other = OffsiteBacklogFile::Asker::other;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_FALSE(file.forget_server(next)) << "there was none";
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  file.add("file:///b", *parse_wal_file_name("000000010000000000000005"));
  const auto seen = file.read("file:///b");
  EXPECT_TRUE(file.forget_server(next));
  EXPECT_FALSE(file.forget_server(next));
  EXPECT_FALSE(file.clear(*seen)) << "that was before";
  EXPECT_EQ(file.read("file:///b")->after, seen->after);
  EXPECT_TRUE(file.read("file:///b")->check) << "whoever sees it first";
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", other)) << "the one that acknowledges has not said so";
  EXPECT_TRUE(file.forget_server(next)) << "the store is compared, and still there is none";
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_TRUE(file.read("file:///b")->check);
  EXPECT_FALSE(file.require_check("file:///b", "a 1", other));
}

TEST(OffsiteBacklog, OnlyTheArchiverSaysThatTheStoreIsKnown) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver, other = OffsiteBacklogFile::Asker::other;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", other));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", other));
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", other));
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_TRUE(file.read("file:///b")->check);
}

TEST(OffsiteBacklog, WithoutSpaceNothingIsForgottenThatIsComparedAnyway) {
  const WalFileName next = *parse_wal_file_name("000000010000000000000006");
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  file.add("file:///b", *parse_wal_file_name("000000010000000000000005"));
  std::filesystem::create_directory(place.path() / "dbops.offsite_backlog.tmp"); // no new file can be written
  EXPECT_THROW(file.forget_server(*parse_wal_file_name("000000010000000000000004")), Error);
  EXPECT_FALSE(file.forget_server(next)) << "all behind what was let go is compared anyway";
  EXPECT_TRUE(file.read("file:///b")->after);
  std::filesystem::remove(place.path() / "dbops.offsite_backlog.tmp");
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  std::filesystem::create_directory(place.path() / "dbops.offsite_backlog.tmp");
  EXPECT_TRUE(file.forget_server(next));
  EXPECT_FALSE(std::filesystem::exists(place.path() / "dbops.offsite_backlog"));
}

} // namespace
} // namespace dbops::core
