#include "core/text/live_view.h"

#include <gtest/gtest.h>

namespace dbops::core {

namespace {

LiveView view_of(std::size_t count) {
  LiveView view;
  for (std::size_t i = 1; i <= count; ++i) {
    JobProgress job;
    job.job_id = static_cast<std::int64_t>(i);
    job.kind = "backfill";
    job.target = "users";
    job.state = "running";
    job.rows_total = 100;
    job.percent = 0;
    job.rows_per_second = 5;
    view.jobs.push_back(job);
  }
  return view;
}

std::vector<std::string> text(const LiveView& view, std::size_t rows) {
  std::vector<std::string> result;
  for (const Line& line : live_lines(view, {.columns = 60, .rows = rows}, Charset::ascii))
    result.push_back(line.rendered(false));
  return result;
}

} // namespace

TEST(LiveView, BlocksWhileTheyFit) {
  const auto lines = text(view_of(2), 8); // two blocks of three lines, one between, one for the cursor
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[0], "Job 1  backfill of users                             running");
  EXPECT_EQ(lines[3], "");
  EXPECT_EQ(lines[4].substr(0, 5), "Job 2");
}

TEST(LiveView, OneLineAJobWhereBlocksDoNotFit) {
  const auto lines = text(view_of(2), 7);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[1], "    2 users                running   [          ]   0.0 %  ~");
}

TEST(LiveView, CountsWhatDoesNotFit) {
  const auto lines = text(view_of(9), 6);
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_EQ(lines.back(), "and 5 more not finished");
}

TEST(LiveView, CountsWhatWasNotAskedFor) {
  LiveView view = view_of(1);
  view.not_shown = 1200;
  EXPECT_EQ(text(view, 24).back(), "and 1,200 more not finished");
  view = view_of(9);
  view.not_shown = 10;
  EXPECT_EQ(text(view, 6).back(), "and 15 more not finished");
}

TEST(LiveView, SaysThatThereIsNothing) {
  LiveView view = view_of(0);
  EXPECT_TRUE(text(view, 24).empty());
  view.when_empty = "no job";
  EXPECT_EQ(text(view, 24), std::vector<std::string>{"no job"});
  view.jobs = view_of(1).jobs;
  EXPECT_EQ(text(view, 24).size(), 3U);
}

TEST(LiveView, NoticeIsTheLastLine) {
  LiveView view = view_of(9);
  view.notice = "connection lost\n";
  for (const std::size_t rows : {5U, 24U})
    EXPECT_EQ(text(view, rows).back(), "connection lost ") << rows;
}

TEST(LiveView, LeavesALineForTheCursor) {
  for (std::size_t jobs = 0; jobs < 12; ++jobs)
    for (std::size_t rows = 0; rows < 40; ++rows) {
      LiveView view = view_of(jobs);
      view.notice = "notice";
      ASSERT_LT(text(view, rows).size(), std::max<std::size_t>(rows, 2)) << jobs << " " << rows;
    }
}

} // namespace dbops::core
