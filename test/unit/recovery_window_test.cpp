#include "core/backup/recovery_window.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

constexpr std::uint64_t mb = 1 << 20;

CatalogueEntry backup(const std::string& label, Lsn start, Lsn stop, TimelineId timeline = 1) {
  BackupHead head;
  head.label = label;
  head.wal_segment_size = mb;
  head.start_lsn = start;
  head.stop_lsn = stop;
  head.timeline = timeline;
  return {label, head, {}};
}

TEST(RecoveryWindow, AStretchWithABackupIsOne) {
  const auto windows = recovery_windows({backup("20261121T100000Z", 2 * mb + 40, 3 * mb + 300)},
                                        {{.timeline = 1, .ranges = {{1, 5}}, .streamed = {{6, 4096}}}});
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_EQ(windows[0].from, 3 * mb + 300);
  EXPECT_EQ(windows[0].to, 6 * mb + 4096) << "with what was streamed behind it";
  EXPECT_EQ(windows[0].gap_until, 0U);
  EXPECT_EQ(windows[0].backups, 1U);
}

TEST(RecoveryWindow, AGapDividesAndABackupAcrossItIsInNone) {
  const auto windows =
      recovery_windows({backup("20261121T100000Z", mb, 2 * mb), backup("20261121T110000Z", 3 * mb + 8, 6 * mb),
                        backup("20261121T120000Z", 7 * mb, 8 * mb)},
                       {{.timeline = 1, .ranges = {{1, 3}, {5, 9}}}});
  ASSERT_EQ(windows.size(), 2U);
  EXPECT_EQ(windows[0].to, 4 * mb);
  EXPECT_EQ(windows[0].gap_until, 5 * mb);
  EXPECT_EQ(windows[0].last_backup, "20261121T100000Z");
  EXPECT_EQ(windows[1].first_backup, "20261121T120000Z");
  EXPECT_EQ(windows[1].from, 8 * mb);
}

TEST(RecoveryWindow, OtherTimelinesAndStretchesWithoutABackupAreLeftOut) {
  const auto windows =
      recovery_windows({backup("20261121T100000Z", mb, 2 * mb), {"20261121T110000Z", {}, {}}},
                       {{.timeline = 1, .ranges = {{1, 3}, {7, 9}}}, {.timeline = 2, .ranges = {{3, 9}}}});
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_EQ(windows[0].gap_until, 7 * mb);
}

TEST(RecoveryWindow, AStreamedBeginningAloneCounts) {
  const auto windows = recovery_windows({backup("20261121T100000Z", 5 * mb + 40, 5 * mb + 2000)},
                                        {{.timeline = 1, .ranges = {{1, 3}}, .streamed = {{4, 0}, {5, 8192}}}});
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_EQ(windows[0].to, 5 * mb + 8192);
}

} // namespace
} // namespace dbops::core
