// The entry points of the archive module. Nothing is raised out of them: on 15 and 16 an ERROR ends the archiver.

#include "core/base/allocator.h"
#include "server/archive/archiver.h"
#include "server/archive/shared.h"
#include "server/archive/wake_up.h"
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

// The first store's, which files are acknowledged by. The next call that gets farther ends it.
void say_why(const char* file, const std::string& problem, const std::string& hint) noexcept {
  static auto& limit = *new RateLimit(); // PostgreSQL asks again, and says so itself
  try {
    const std::string message = "archiving \"" + std::string(file) + "\" failed: " + problem;
    if (limit.pass(problem)) log_line(true, message, hint);
    with_archive_shared([&](ArchiveShared& memory) {
      note_error(memory.repository[primary], message.c_str(), hint.c_str());
      memory.repository[primary].archiver_failing = true;
    });
  } catch (...) {
    return;
  }
}

enum class Answer { stored, not_stored, raised };

Answer archive_or_say_why(const char* file) noexcept {
  try {
    if (archiver == nullptr) {
      core::return_large_buffers();
      archiver = new Archiver();
    }
    return archiver->archive(file) ? Answer::stored : Answer::not_stored;
  } catch (const SqlError& error) {
    clean_up_after_error();
    say_why(file, error.message, error.hint);
  } catch (const core::Error& error) {
    say_why(file, error.what(), error.hint());
  } catch (const std::exception& error) {
    say_why(file, error.what(), {});
  }
  return Answer::raised;
}

bool is_configured() noexcept {
  if (guc::store != nullptr && guc::store[0] != '\0') return true;
  compat::explain_unconfigured_archive("dbops.store is not set.");
  return false;
}

bool archive_file(const char* file) noexcept {
  const Answer answer = archive_or_say_why(file);
  // The wait may have taken a wake-up that was meant for PostgreSQL's own loop. A store that is out is asked again
  // soon; after what PostgreSQL itself has raised, its pause is kept.
  if (take_wake_up() || answer != Answer::raised) SetLatch(MyLatch);
  return answer == Answer::stored;
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
