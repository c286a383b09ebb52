#include "server/guc.h"

#include <cstdio>
#include <exception>

#include "core/store/store_url.h"
#include "server/pg.h"

namespace dbops::server::guc {

int max_workers = 4;
int history_retention_days = 30;
int housekeeping_interval = 86'400;
int run_history = 1000;
char* in_job = nullptr;

char* store = nullptr;
char* offsite_store = nullptr;
char* credentials_file = nullptr;
char* key_file = nullptr;
int stream_interval = 1000;
int archive_workers = 4;
int compression_level = 3;
int upload_timeout = 120'000;
int archive_shutdown_timeout = 30'000;
int offsite_max_backlog = 1024;

namespace {

constexpr int minimal_interval = 10; // ms

// What is wrong with the URL; empty: nothing. Looks at the text alone.
using Complaint = std::array<char, 400>;
Complaint complaint_about_url(const char* text) noexcept {
  Complaint complaint{};
  try {
    (void)core::parse_store_url(text);
  } catch (const std::exception& error) {
    std::snprintf(complaint.data(), complaint.size(), "%s", error.what());
  } catch (...) {
    std::snprintf(complaint.data(), complaint.size(), "unknown error");
  }
  return complaint;
}

bool check_store(char** value, void**, GucSource) {
  if (*value == nullptr || **value == '\0') return true;
  const Complaint complaint = complaint_about_url(*value);
  if (complaint[0] == '\0') return true;
  GUC_check_errdetail("%s", complaint.data());
  GUC_check_errhint("A store is file:///path or s3://bucket/prefix?endpoint=...&region=...");
  return false;
}

// A secret in the data directory would be in each base backup.
bool check_secret_file(char** value, void**, GucSource) {
  if (*value == nullptr || **value == '\0') return true;
  if (**value != '/') {
    GUC_check_errdetail("The path must be absolute.");
    return false;
  }
  const std::size_t length = DataDir == nullptr ? 0 : std::strlen(DataDir);
  if (length > 0 && std::strncmp(*value, DataDir, length) == 0 && (*value)[length] == '/') {
    GUC_check_errdetail("The file must be outside the data directory, which base backups copy.");
    return false;
  }
  return true;
}

bool check_interval(int* value, void**, GucSource) {
  if (*value == 0 || *value >= minimal_interval) return true;
  GUC_check_errdetail("It is 0, which turns streaming off, or at least %d ms.", minimal_interval);
  return false;
}

void define_string(const char* name, const char* what, const char* more, char** value, GucStringCheckHook check) {
  DefineCustomStringVariable(name, what, more, value, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check, nullptr, nullptr);
}

void define_archive() {
  define_string("dbops.store", "URL of the repository that WAL is archived to.",
                "file:///path or s3://bucket/prefix?option=value. Empty: none.", &store, check_store);
  define_string("dbops.offsite_store", "URL of a second repository that gets everything too.", "Empty: none.",
                &offsite_store, check_store);
  define_string("dbops.credentials_file", "File with credentials for S3, in the format of AWS.",
                "Absolute, outside the data directory. Empty: environment, web identity, container, instance.",
                &credentials_file, check_secret_file);
  define_string("dbops.key_file", "File with the keys that objects are encrypted with.",
                "Absolute, outside the data directory. Empty: no encryption.", &key_file, check_secret_file);
  DefineCustomIntVariable("dbops.stream_interval", "Time between two looks for WAL of the unfinished segment to ship.",
                          "0 turns it off: then only whole segments are archived.", &stream_interval, 1000, 0,
                          3'600'000, PGC_SIGHUP, GUC_UNIT_MS | GUC_SUPERUSER_ONLY, check_interval, nullptr, nullptr);
  DefineCustomIntVariable("dbops.archive_workers",
                          "Files that are compressed and uploaded at once, for each repository.",
                          "Threads of the archiver process.", &archive_workers, 4, 1, 64, PGC_SIGHUP,
                          GUC_SUPERUSER_ONLY, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("dbops.compression_level", "Level of zstd for what is archived.", nullptr, &compression_level,
                          3, 1, 19, PGC_SIGHUP, GUC_SUPERUSER_ONLY, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "dbops.upload_timeout", "Longest time for one file of up to 16 MB, retries included.",
      "After it the file has failed, and is tried again later. For larger WAL segments it is as much "
      "longer as they are larger.",
      &upload_timeout, 120'000, 1'000, 3'600'000, PGC_SIGHUP, GUC_UNIT_MS | GUC_SUPERUSER_ONLY, nullptr, nullptr,
      nullptr);
  DefineCustomIntVariable("dbops.archive_shutdown_timeout", "Longest time that archiving holds up a shutdown.",
                          "Files that are left are archived after the next start.", &archive_shutdown_timeout, 30'000,
                          0, 3'600'000, PGC_SIGHUP, GUC_UNIT_MS | GUC_SUPERUSER_ONLY, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "dbops.offsite_max_backlog", "WAL that is kept for an offsite store that is out.",
      "Beyond it segments are recycled that only dbops.store has; they are copied from there later.",
      &offsite_max_backlog, 1024, 0, 1024 * 1024 * 1024, PGC_SIGHUP, GUC_UNIT_MB | GUC_SUPERUSER_ONLY, nullptr, nullptr,
      nullptr);
}

} // namespace

void define() {
  DefineCustomIntVariable("dbops.max_workers", "Job workers that may run at once, in all databases together.",
                          "They come out of max_worker_processes, which the launcher and parallel queries share. "
                          "0 keeps jobs queued.",
                          &max_workers, 4, 0, max_workers_limit, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("dbops.history_retention", "Days that finished jobs and their runs are kept.",
                          "-1 keeps them for ever.", &history_retention_days, 30, -1, 36500, PGC_SIGHUP, 0, nullptr,
                          nullptr, nullptr);
  DefineCustomIntVariable("dbops.housekeeping_interval",
                          "Time after which each database is looked at although nothing is due there.",
                          "History is pruned then, and what was lost without a trace is found.", &housekeeping_interval,
                          86'400, 1, 604'800, PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("dbops.run_history", "Runs of each schedule that are kept.",
                          "-1 keeps them as long as dbops.history_retention says.", &run_history, 1000, -1, 1000000,
                          PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomStringVariable("dbops.in_job", "The job that this session is working for; empty outside a job.",
                             "Triggers can test it: WHEN (coalesce(current_setting('dbops.in_job', true), '') = '').",
                             &in_job, "", PGC_USERSET, GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, nullptr, nullptr,
                             nullptr);
  define_archive();
  MarkGUCPrefixReserved("dbops");
}

} // namespace dbops::server::guc
