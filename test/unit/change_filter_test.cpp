#include "core/text/change_filter.h"

#include <gtest/gtest.h>

namespace dbops::core {

namespace {

using std::chrono::seconds;

class ChangeFilterTest : public testing::Test {
 protected:
  ChangeFilterTest() {
    job.job_id = 1;
    job.state = "running";
    EXPECT_TRUE(filter.is_due(job, now)) << "the first look";
  }
  bool after(seconds time) { return filter.is_due(job, now += time); }

  ChangeFilter filter{Seconds(10)};
  SteadyTime now{};
  JobProgress job;
};

} // namespace

TEST_F(ChangeFilterTest, NothingNew) {
  EXPECT_FALSE(after(seconds(0)));
  EXPECT_FALSE(after(seconds(1000)));
}

TEST_F(ChangeFilterTest, ProgressOnceAnInterval) {
  job.rows_done = 1;
  EXPECT_FALSE(after(seconds(9)));
  EXPECT_TRUE(after(seconds(1)));
  job.rows_done = 2;
  EXPECT_FALSE(after(seconds(9)));
  EXPECT_TRUE(after(seconds(1)));
}

TEST_F(ChangeFilterTest, WaitsAreProgress) {
  job.waiting_for = "replica lag 12.0 s, limit 10.0 s";
  EXPECT_FALSE(after(seconds(1)));
  EXPECT_TRUE(after(seconds(9)));
  EXPECT_FALSE(after(seconds(10)));
}

TEST_F(ChangeFilterTest, StatesAtOnce) {
  job.state = "paused";
  EXPECT_TRUE(after(seconds(0)));
  job.state = "queued";
  EXPECT_TRUE(after(seconds(0)));
  EXPECT_FALSE(after(seconds(0)));
}

TEST_F(ChangeFilterTest, FirstRowSetAsideAtOnce) {
  job.rows_failed = 1;
  EXPECT_TRUE(after(seconds(0)));
  job.rows_failed = 2;
  EXPECT_FALSE(after(seconds(1)));
  EXPECT_TRUE(after(seconds(9)));
}

TEST_F(ChangeFilterTest, EachJobByItself) {
  JobProgress other = job;
  other.job_id = 2;
  EXPECT_TRUE(filter.is_due(other, now));
  EXPECT_FALSE(filter.is_due(other, now));
  EXPECT_FALSE(after(seconds(0)));
}

} // namespace dbops::core
