#include "core/backup/file_rules.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

TEST(FileRules, ContentsThatTheServerMakesAnewAreLeftOut) {
  for (const char* path :
       {"pg_wal", "pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"})
    EXPECT_EQ(file_rule(path), FileRule::skip_contents) << path;
}

TEST(FileRules, FilesOfTheRunningServerAreLeftOut) {
  for (const char* path : {"postmaster.pid",
                           "postmaster.opts",
                           "backup_label",
                           "backup_label.old",
                           "tablespace_map",
                           "backup_manifest",
                           "recovery.signal",
                           "standby.signal",
                           "postgresql.auto.conf.tmp",
                           "current_logfiles.tmp",
                           "dbops.restore",
                           "dbops.instance",
                           "dbops.clock",
                           "global/pg_control",
                           "global/pg_internal.init",
                           "base/5/pg_internal.init",
                           "base/5/pg_internal.init.4711",
                           "base/pgsql_tmp",
                           "base/pgsql_tmp1.2",
                           "base/5/t3_16384",
                           "base/5/t12_16384_fsm",
                           "pg_tblspc/16400/PG_15_202209061/pgsql_tmp",
                           "pg_tblspc/16400/PG_15_202209061/5/t3_16384.1"})
    EXPECT_EQ(file_rule(path), FileRule::skip) << path;
}

TEST(FileRules, TheSameNamesElsewhereAreTaken) {
  for (const char* path :
       {"base", "base/5", "base/5/16384", "base/5/PG_VERSION", "global/pg_filenode.map", "pg_xact/0000", "log",
        "log/postmaster.pid", "my/pg_wal", "my/recovery.signal", "base/5/t3", "base/5/table_1", "my/t3_16384",
        "my/pgsql_tmp", "my/pg_internal.init", "postgresql.auto.conf", "pg_logical/mappings/x", "base/5/16384_init"})
    EXPECT_EQ(file_rule(path), FileRule::take) << path;
}

TEST(FileRules, RelationsAreKnownByTheirPlaceAndName) {
  const auto file = parse_relation_file("base/5/16384_vm.2");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->relation, "16384");
  EXPECT_EQ(file->fork, RelationFork::visibility);
  EXPECT_EQ(file->segment, 2U);
  EXPECT_TRUE(parse_relation_file("global/1260"));
  EXPECT_TRUE(parse_relation_file("pg_tblspc/16400/PG_15_202209061/5/16384"));
  for (const char* path : {"base/16384", "pg_xact/0000", "base/5/PG_VERSION", "base/5/16384_x", "base/5/16384.",
                           "base/5/16384.0", "base/5/16384.01", "base/5/", "base/5/t3_16384", "base/5/0016",
                           "base/5/16384.99999999999", "my/5/16384", "pg_tblspc/x/PG_15_1/5/16384"})
    EXPECT_FALSE(parse_relation_file(path)) << path;
}

} // namespace
} // namespace dbops::core
