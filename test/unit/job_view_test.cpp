#include "core/text/job_view.h"

#include <gtest/gtest.h>

namespace dbops::core {

namespace {

JobProgress running_job() {
  JobProgress job;
  job.job_id = 12;
  job.kind = "backfill";
  job.target = "users";
  job.state = "running";
  job.rows_done = 1'234'567;
  job.rows_total = 2'918'000;
  job.percent = 42.3;
  job.rows_per_second = 12'345;
  job.eta = Seconds(136);
  job.batch_time_p50 = Seconds(0.098);
  job.batch_time_p99 = Seconds(0.24);
  return job;
}

JobProgress failed_job() {
  JobProgress job = running_job();
  job.state = "failed";
  job.eta.reset();
  job.run_time = Seconds(100);
  job.wal_bytes = 3 << 20;
  job.rows_failed = 1;
  job.last_sqlstate = "23514";
  job.last_error = "new row violates\na check";
  job.last_hint = "SELECT dbops.retry(12)";
  return job;
}

std::vector<std::string> block(const JobProgress& job, std::size_t width, Charset charset = Charset::utf8) {
  std::vector<std::string> result;
  for (const Line& line : block_view(job, width, charset))
    result.push_back(line.rendered(false));
  return result;
}

} // namespace

TEST(JobView, BlockOfARunningJob) {
  EXPECT_EQ(block(running_job(), 80),
            (std::vector<std::string>{
                "Job 12  backfill of users                                                running",
                "  ▕█████████████▌                  ▏   42.3 %  1,234,567 of about 2,918,000 rows",
                "  12,345 rows/s   ETA 2m 16s   batch p50 98 ms p99 240 ms",
            }));
}

TEST(JobView, BlockInAscii) {
  JobProgress job = running_job();
  job.target = "straße";
  EXPECT_EQ(block(job, 80, Charset::ascii)[0],
            "Job 12  backfill of stra?e                                               running");
  EXPECT_EQ(block(job, 80, Charset::ascii)[1],
            "  [=============>                  ]   42.3 %  1,234,567 of about 2,918,000 rows");
}

TEST(JobView, BlockSaysWhatItWaitsForAndSinceWhen) {
  JobProgress job = running_job();
  job.waiting_for = "replica lag 12.0 s, limit 10.0 s";
  job.waiting_since = "2026-11-21 10:41:02";
  job.waited = Seconds(12);
  EXPECT_EQ(block(job, 100).back(), "  waits 12 s (since 10:41:02) for replica lag 12.0 s, limit 10.0 s");
  job.waited = Seconds(86400 * 2);
  EXPECT_EQ(block(job, 100).back(), "  waits 2d 00h (since 2026-11-21 10:41:02) for replica lag 12.0 s, limit 10.0 s");
}

TEST(JobView, BlockOfAFailedJob) {
  EXPECT_EQ(block(failed_job(), 90),
            (std::vector<std::string>{
                "Job 12  backfill of users                                                           failed",
                "  ▕████████████████████▎                           ▏   42.3 %  1,234,567 rows",
                "  12,346 rows/s   took 1m 40s   1 row set aside   batch p50 98 ms p99 240 ms",
                "  error 23514: new row violates a check Hint: SELECT dbops.retry(12)",
            }));
}

TEST(JobView, NoLineIsWiderThanTheTerminal) {
  JobProgress job = failed_job();
  job.target = "日本語の長い名前のテーブル";
  job.label = "a label of some length";
  job.waiting_for = "a free worker";
  job.waited = Seconds(3);
  for (const Charset charset : {Charset::utf8, Charset::ascii})
    for (std::size_t width = 1; width < 130; ++width) {
      for (const Line& line : block_view(job, width, charset))
        ASSERT_LE(line.columns(), width);
      ASSERT_LE(row_view(job, width, charset).columns(), width);
    }
}

TEST(JobView, FactsThatDoNotFitAreLeftOutWhole) {
  EXPECT_EQ(block(running_job(), 40)[2], "  12,345 rows/s   ETA 2m 16s");
  EXPECT_EQ(block(running_job(), 20)[2], "  12,345 rows/s");
}

TEST(JobView, UnknownTotal) {
  JobProgress job = running_job();
  job.rows_total.reset();
  job.percent.reset();
  job.eta.reset();
  EXPECT_EQ(block(job, 60, Charset::ascii)[1], "  [                               ]           1,234,567 rows");
}

TEST(JobView, MoreRowsThanEstimated) {
  JobProgress job = running_job();
  job.rows_total = 1000;
  EXPECT_EQ(block(job, 90)[1].substr(block(job, 90)[1].find('%')), "%  1,234,567 of about 1,234,567 rows");
}

TEST(JobView, RowForManyJobs) {
  JobProgress job = running_job();
  EXPECT_EQ(row_view(job, 80, Charset::ascii).rendered(false),
            "   12 users                running   [====>     ]  42.3 %  1.23M  ETA 2m 16s");
  job.waiting_for = "lock waiters 1, limit 0";
  job.waited = Seconds(3);
  EXPECT_EQ(row_view(job, 80, Charset::ascii).rendered(false),
            "   12 users                running   [====>     ]  42.3 %  1.23M  ETA 2m 16s  w~");
}

TEST(JobView, PlainLine) {
  JobProgress job = running_job();
  job.label = "name split";
  EXPECT_EQ(plain_view(job),
            "job 12 backfill of users (name split): running, 42.3 %, 1,234,567 of about 2,918,000 rows, "
            "12,345 rows/s, ETA 2m 16s, batch p50 98 ms p99 240 ms");
  EXPECT_EQ(
      plain_view(failed_job()),
      "job 12 backfill of users: failed, 42.3 %, 1,234,567 rows, 12,346 rows/s, took 1m 40s, 1 row set aside, "
      "batch p50 98 ms p99 240 ms, 3.00 MB of WAL, error 23514: new row violates a check Hint: SELECT dbops.retry(12)");
}

TEST(JobView, QueuedJobThatHasDoneNothing) {
  JobProgress job;
  job.job_id = 1;
  job.kind = "batch_delete";
  job.target = "events";
  job.state = "queued";
  job.rows_total = 10;
  job.waiting_for = "a free worker";
  job.waited = Seconds(0.5);
  EXPECT_EQ(plain_view(job),
            "job 1 batch_delete of events: queued, 0 of about 10 rows, waits 500 ms for a free worker");
  EXPECT_EQ(block(job, 80).size(), 3U);
}

TEST(JobView, NamesCannotSteerTheTerminal) {
  JobProgress job = running_job();
  job.target = job.label = job.state = job.waiting_for = job.last_error = "\x1b[2J";
  for (const std::string& line : block(job, 80))
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
  EXPECT_EQ(row_view(job, 80, Charset::utf8).rendered(false).find('\x1b'), std::string::npos);
  EXPECT_EQ(plain_view(job).find('\x1b'), std::string::npos);
}

TEST(JobView, FinishedStates) {
  JobProgress job;
  for (const char* state : {"queued", "running", "paused", "a later invention"}) {
    job.state = state;
    EXPECT_FALSE(is_finished(job)) << state;
    EXPECT_FALSE(has_succeeded(job)) << state;
  }
  for (const char* state : {"succeeded", "failed", "cancelled"}) {
    job.state = state;
    EXPECT_TRUE(is_finished(job)) << state;
    EXPECT_EQ(has_succeeded(job), job.state == "succeeded");
  }
}

} // namespace dbops::core
