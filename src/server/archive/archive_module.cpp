// The entry points of the archive module. Nothing is raised out of them: on 15 and 16 an ERROR ends the archiver.

#include "core/base/allocator.h"
#include "server/archive/archiver.h"
#include "server/compat.h"
#include "server/guc.h"

extern "C" {
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/fd.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
}

namespace dbops::server::archive {

namespace {

Archiver* archiver = nullptr; // never freed: a thread may be left behind

// As pgarch.c of 17 does after an ERROR of a module.
void clean_up_after_error() noexcept {
  try {
    call_pg([] {
      disable_all_timeouts(false);
      LWLockReleaseAll();
      ConditionVariableCancelSleep();
      pgstat_report_wait_end();
      ReleaseAuxProcessResources(false);
      AtEOXact_Files(false);
    });
  } catch (...) {
    return;
  }
}

bool archive_or_say_why(const char* file) noexcept {
  try {
    if (archiver == nullptr) {
      core::return_large_buffers();
      archiver = new Archiver();
    }
    return archiver->archive(file);
  } catch (const SqlError& error) {
    clean_up_after_error();
    log_line(true, "archiving \"" + std::string(file) + "\" failed: " + error.message, error.hint);
  } catch (const core::Error& error) {
    log_line(true, "archiving \"" + std::string(file) + "\" failed: " + error.what(), error.hint());
  } catch (const std::exception& error) {
    log_line(true, "archiving \"" + std::string(file) + "\" failed: " + error.what());
  }
  return false;
}

bool is_configured() noexcept {
  if (guc::store != nullptr && guc::store[0] != '\0') return true;
  compat::explain_unconfigured_archive("dbops.store is not set.");
  return false;
}

bool archive_file(const char* file) noexcept {
  const bool stored = archive_or_say_why(file);
  // The wait may have taken a wake-up that was meant for PostgreSQL's own loop.
  SetLatch(MyLatch);
  return stored;
}

void shut_down() noexcept {
  try {
    if (archiver != nullptr) archiver->stop();
  } catch (...) {
    leave_thread_behind();
  }
}

} // namespace

} // namespace dbops::server::archive

DBOPS_ARCHIVE_MODULE(dbops::server::archive::is_configured, dbops::server::archive::archive_file,
                     dbops::server::archive::shut_down)
