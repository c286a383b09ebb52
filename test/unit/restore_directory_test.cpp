// Directories that a restore may not touch, and that nobody may touch during one.
#include "backup_round_trip.h"

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace dbops::core {
namespace {

// Something that a postmaster.pid may name.
class LivingProcess {
 public:
  LivingProcess() : process_(::fork()) {
    while (process_ == 0)
      ::pause();
  }
  ~LivingProcess() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  LivingProcess(const LivingProcess&) = delete;
  LivingProcess& operator=(const LivingProcess&) = delete;
  LivingProcess(LivingProcess&&) = delete;
  LivingProcess& operator=(LivingProcess&&) = delete;
  [[nodiscard]] std::string number() const { return std::to_string(process_); }

 private:
  pid_t process_;
};

class BackupTarget : public BackupRoundTrip {};

// A restore that ended before it had said so in the directory.
TEST_P(BackupTarget, ADirectoryWithAnUnfinishedMarkerIsEmpty) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  fs::create_directories(to);
  write_file(to / "dbops.restore.dbops", as_bytes("rest"));
  restore(head, to);
  EXPECT_TRUE(contents(to) == expected());
}

TEST_P(BackupTarget, ADirectoryThatIsInUseIsRefused) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  fs::create_directories(to);
  const LivingProcess server;
  write_file(to / "PG_VERSION", as_bytes("15\n"));
  for (const char* sign : {"", "-"}) { // the second one: a server without a postmaster
    write_file(to / "postmaster.pid", as_bytes(sign + server.number() + "\n"));
    EXPECT_THROW(restore(head, to, true), Error);
    EXPECT_EQ(contents(to).size(), 2U) << "nothing was changed";
  }
  fs::remove(to / "postmaster.pid");
  fs::rename(to / "PG_VERSION", to / "letter.txt");
  EXPECT_THROW(restore(head, to, true), Error) << "no data directory";
  EXPECT_EQ(contents(to).size(), 1U);
}

TEST_P(BackupTarget, ARestoreKeepsOthersOutAsLongAsItTakes) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  const LivingProcess server;
  for (const bool replaced : {false, true}) {
    bool looked = false;
    store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool after) {
      if (operation != MemoryStore::Operation::get || after || key.find("pack/") == std::string::npos) return;
      looked = true;
      RestoreClaim other;
      EXPECT_THROW(other.lock(to), Error);
      if (replaced)
        write_file(to / "postmaster.pid", as_bytes(server.number() + "\n"));
      else
        EXPECT_TRUE(as_text(read_file(to / "postmaster.pid", 1000)).starts_with(std::to_string(::getpid()) + "\n"));
    });
    if (replaced) {
      EXPECT_THROW(restore(head, to), Error);
      EXPECT_FALSE(fs::exists(to / "global/pg_control"));
      EXPECT_TRUE(as_text(read_file(to / "postmaster.pid", 1000)).starts_with(server.number())) << "it is not ours";
    } else {
      restore(head, to);
      EXPECT_TRUE(contents(to) == expected());
    }
    EXPECT_TRUE(looked);
    store_.set_hook({});
    RestoreClaim().lock(to);
    fs::remove_all(to);
  }
}

TEST_P(BackupTarget, AServerThatStartsBeforeTheFirstChangeIsNotTouched) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  restore(head, to);
  write_file(to / "global/pg_control", as_bytes("changed"));
  const LivingProcess server;
  store_.set_hook([&](MemoryStore::Operation operation, const std::string&, bool) {
    if (operation == MemoryStore::Operation::list) write_file(to / "postmaster.pid", as_bytes(server.number() + "\n"));
  });
  EXPECT_THROW(restore(head, to, true), Error);
  store_.set_hook({});
  EXPECT_EQ(as_text(read_file(to / "global/pg_control", 1000)), "changed");
  EXPECT_FALSE(fs::exists(to / restore_marker));
  EXPECT_TRUE(as_text(read_file(to / "postmaster.pid", 1000)).starts_with(server.number()));
  write_file(to / "postmaster.pid", as_bytes("999999999\n"));
  restore(head, to, true);
  EXPECT_TRUE(contents(to) == expected()) << "of a server that has died it is no obstacle";
}

// A server makes its lock file and writes to it afterwards.
TEST_P(BackupTarget, ALockFileThatNamesNoProcessIsThatOfAServerThatStarts) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  restore(head, to);
  write_file(to / "global/pg_control", as_bytes("changed"));
  const std::string no_process = "999999999"; // but the line may go on
  for (const std::string& text : {std::string(), no_process, std::string("\n"), std::string("0\n"),
                                  "x" + no_process + "\n", no_process + "x\n"}) {
    write_file(to / "postmaster.pid", as_bytes(text));
    const auto before = contents(to);
    try {
      restore(head, to, true);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::configuration) << text;
      EXPECT_NE(error.hint().find("remove it"), std::string::npos) << error.hint();
    }
    EXPECT_TRUE(contents(to) == before) << "nothing was changed: " << text;
  }
  // It starts between the first look and the claim.
  write_file(to / "postmaster.pid", as_bytes(no_process + "\n"));
  store_.set_hook([&](MemoryStore::Operation operation, const std::string&, bool) {
    if (operation == MemoryStore::Operation::list) write_file(to / "postmaster.pid", {});
  });
  EXPECT_THROW(restore(head, to, true), Error);
  store_.set_hook({});
  EXPECT_TRUE(fs::exists(to / "postmaster.pid"));
  EXPECT_EQ(as_text(read_file(to / "global/pg_control", 1000)), "changed");
  fs::remove(to / "postmaster.pid");
  restore(head, to, true);
  EXPECT_TRUE(contents(to) == expected());
}

// That of a server in another container may be that of this process or its parent here, and nothing tells it from one
// that was left by a server before us. A restore, which has the directory locked while it lives, has left any file of
// one.
TEST_P(BackupTarget, ALockFileWithANumberOfOurOwnIsAServersOrThatOfARestoreThatWasKilled) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  restore(head, to);
  write_file(to / "global/pg_control", as_bytes("changed"));
  const LivingProcess stranger; // has got the number of one that was killed
  const std::string own = std::to_string(::getpid()), parent = std::to_string(::getppid());
  for (const std::string& number : {own, parent, "-" + own, std::string("1")}) {
    write_file(to / "postmaster.pid", as_bytes(number + "\n" + to.string() + "\n1795255200\n5432\n"));
    const auto before = contents(to);
    EXPECT_THROW(restore(head, to, true), Error) << number;
    EXPECT_TRUE(contents(to) == before) << "nothing was changed, process " << number;
  }
  for (const std::string& number : {own, parent, stranger.number(), std::string("1"), std::string("999999999")}) {
    write_file(to / "postmaster.pid", as_bytes(number + "\n" + to.string() + "\ndbops restore\n"));
    {
      RestoreClaim other;
      other.lock(to);
      EXPECT_THROW(restore(head, to, true), Error) << "it lives, process " << number;
    }
    EXPECT_NO_THROW(restore(head, to, true)) << "process " << number;
    EXPECT_TRUE(contents(to) == expected()) << number;
  }
}

// A restore that ended between its marker and the removal of pg_control, or behind the last change, after which a
// server was started.
TEST_P(BackupTarget, AServersDirectoryWithAMarkerIsNoInterruptedRestore) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  restore(head, to);
  write_file(to / restore_marker, as_bytes("rest"));
  restore(head, to);
  EXPECT_TRUE(contents(to) == expected()) << "no server has changed pg_control since";
  write_file(to / restore_marker, as_bytes("rest"));
  write_file(to / "global/pg_control", as_bytes("changed"));
  const auto before = contents(to);
  EXPECT_THROW(restore(head, to), Error);
  EXPECT_TRUE(contents(to) == before);
  restore(head, to, true);
  EXPECT_TRUE(contents(to) == expected());
}

TEST_P(BackupTarget, TablespacesOfALivingServerAreLeftAlone) {
  const fs::path live = root_.path() / "live", to = root_.path() / "to";
  const std::string version = "PG_15_202209061";
  fs::create_directories(live / version / "5");
  write_file(live / version / "5/16400", pages(3, 21));
  fs::create_directory_symlink(live, data_ / "pg_tblspc/16399");
  const BackupHead head = backup();
  write_file(live / version / "5/16401", as_bytes("later"));
  const auto before = contents(live);

  EXPECT_THROW(restore(head, to, true), Error);
  fs::create_directories(to);
  write_file(to / restore_marker, as_bytes("x"));
  EXPECT_THROW(restore(head, to), Error) << "a restore that was interrupted";
  EXPECT_TRUE(contents(live) == before);
  EXPECT_EQ(contents(to).size(), 1U) << "nothing was changed";
  for (const char* place : {"to/space", "to", ""})
    EXPECT_THROW(restore(head, to, false, {{16399, root_.path() / place}}), Error) << "inside or around: " << place;

  const fs::path other = root_.path() / "other";
  restore(head, to, false, {{16399, other}});
  EXPECT_EQ(contents(other).size(), 1U);
  write_file(other / version / "5/16402", as_bytes("stray"));
  restore(head, to, true, {{16399, other}});
  EXPECT_EQ(contents(other).size(), 1U) << "its own tablespace is compared";
  EXPECT_TRUE(contents(live) == before);
}

TEST_P(BackupTarget, WalThatWasNotArchivedIsNotRemoved) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to", wal = root_.path() / "wal";
  restore(head, to);
  fs::rename(to / "pg_wal", wal);
  fs::create_directories(wal / "archive_status");
  write_file(wal / "000000010000000000000007", as_bytes("the only one"));
  write_file(wal / "archive_status/000000010000000000000006.done", {});
  write_file(wal / "archive_status/000000010000000000000006.00000028.backup.ready", {});
  fs::create_directory_symlink(wal, to / "pg_wal");
  restore(head, to, true);
  fs::remove_all(to / "pg_wal");
  fs::create_directory_symlink(wal, to / "pg_wal");
  write_file(wal / "archive_status/000000010000000000000007.ready", {});
  const auto before = contents(to);
  EXPECT_THROW(restore(head, to, true), Error);
  EXPECT_TRUE(contents(to) == before);
  restore(head, to, true, {}, true);
  EXPECT_TRUE(contents(to) == expected());
}

INSTANTIATE_TEST_SUITE_P(Backups, BackupTarget, testing::Bool(),
                         [](const auto& info) { return info.param ? "Encrypted" : "Plain"; });

} // namespace
} // namespace dbops::core
