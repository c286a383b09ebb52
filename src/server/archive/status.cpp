// dbops.archive_status: a row for each repository that is set.

#include <algorithm>
#include <cmath>

#include "server/archive/backlog.h"
#include "server/archive/commit_time.h"
#include "server/archive/shared.h"
#include "server/archive/threads.h"
#include "server/compat.h"
#include "server/guc.h"

extern "C" {
#include "access/xlog.h"
#include "funcapi.h"
#include "utils/pg_lsn.h"
}

using namespace dbops::server;
using namespace dbops::server::archive;
namespace core = dbops::core;

namespace {

// Where the server is; the same for all repositories.
struct ServerPosition {
  bool in_recovery = false;
  core::TimelineId timeline = 0;
  core::Lsn flushed = 0;
};

ServerPosition server_position() {
  ServerPosition position;
  position.in_recovery = RecoveryInProgress();
  if (!position.in_recovery) position.flushed = GetFlushRecPtr(&position.timeline);
  return position;
}

// Seconds since the oldest commit that would be lost with this server; absent: not known.
std::optional<double> recovery_point(const RepositoryStatus& status, const ServerPosition& position) {
  if (position.in_recovery || status.durable == 0 || status.timeline != position.timeline) return std::nullopt;
  const OldestCommit oldest = oldest_commit(position.timeline, status.durable, position.flushed);
  if (oldest.answer == OldestCommit::Answer::none) return 0.0;
  // When all was durable for the last time, no commit was lost: an upper bound.
  const TimestampTz since = oldest.answer == OldestCommit::Answer::found ? oldest.time : status.caught_up;
  if (since == 0) return std::nullopt;
  return std::max<double>(0, static_cast<double>(GetCurrentTimestamp() - since) / 1e6);
}

const char* state_of(const RepositoryStatus& status, const ServerPosition& position, const Backlog& backlog) {
  if (XLogArchiveMode == ARCHIVE_MODE_OFF || XLogArchiveLibrary == nullptr ||
      std::strcmp(XLogArchiveLibrary, "dbops") != 0)
    return "not archiving";
  if (status.diverged) return "diverged";
  if (status.archiver_failing || status.streamer_failing) return "failing";
  if (position.in_recovery) return "standby";
  if (status.gap_to != 0 && status.timeline == position.timeline) return "gap";
  if (backlog.catching_up) return "catching up";
  if (!backlog.damaged.empty()) return "gap";
  return status.durable >= position.flushed ? "up to date" : "archiving";
}

// One row, column by column in the order of the view.
class RowBuilder {
 public:
  void null() { add(0, true); }
  void text(const char* value) {
    if (value == nullptr || value[0] == '\0') return null();
    add(call_pg([value] { return CStringGetTextDatum(value); }), false);
  }
  void lsn(core::Lsn value) { value == 0 ? null() : add(LSNGetDatum(value), false); }
  void number(std::int64_t value) { add(Int64GetDatum(value), false); }
  void real(const std::optional<double>& value) { value ? add(Float8GetDatum(*value), false) : null(); }
  void time(TimestampTz value) { value == 0 ? null() : add(TimestampTzGetDatum(value), false); }
  void store(FunctionCallInfo fcinfo) {
    call_pg([&] {
      auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
      tuplestore_putvalues(result->setResult, result->setDesc, values_.data(), nulls_.data());
    });
  }

 private:
  void add(Datum value, bool is_null) {
    values_.at(used_) = value;
    nulls_.at(used_++) = is_null;
  }
  std::array<Datum, 32> values_{};
  std::array<bool, 32> nulls_{};
  std::size_t used_ = 0;
};

void add_row(FunctionCallInfo fcinfo, int repository, const char* url, const RepositoryStatus& status,
             const ServerPosition& position, const Backlog& backlog, TimestampTz reset) {
  const bool known = status.durable != 0 && status.timeline == position.timeline && !position.in_recovery;
  RowBuilder row;
  row.text(repository_name(repository));
  row.text(url);
  row.text(state_of(status, position, backlog));
  row.number(position.timeline != 0 ? position.timeline : status.timeline);
  row.lsn(position.flushed);
  row.lsn(known ? status.durable : 0);
  row.real(recovery_point(status, position));
  row.number(backlog.files);
  if (known)
    row.number(static_cast<std::int64_t>(position.flushed - std::min(position.flushed, status.durable)));
  else
    row.null();
  row.text(backlog.oldest.c_str());
  row.text(status.last_file);
  row.time(status.last_file_at);
  row.time(status.last_chunk_at);
  row.number(status.files);
  row.number(status.file_bytes);
  row.number(status.chunks);
  row.number(status.merges);
  row.number(status.chunk_bytes);
  row.number(status.stored_bytes);
  row.real(std::round(stored_rate(status, GetCurrentTimestamp())));
  row.number(status.retries);
  row.number(status.failures);
  row.text(status.last_error);
  row.text(status.last_hint);
  row.time(status.last_error_at);
  row.time(reset);
  row.store(fcinfo);
}

} // namespace

DBOPS_SQL_FUNCTION(dbops_archive_repositories) {
  return boundary([fcinfo]() -> Datum {
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    ArchiveShared copy{};
    with_archive_shared([&copy](ArchiveShared& memory) { copy = memory; });
    const ServerPosition position = server_position();
    const std::array<const char*, repositories> urls{guc::store, guc::offsite_store};
    const std::array<Backlog, repositories> backlogs = read_backlogs(copy, guc::offsite_store);
    for (int i = 0; i < repositories; ++i) {
      const char* const url = urls.at(static_cast<std::size_t>(i));
      if (url != nullptr && url[0] != '\0')
        add_row(fcinfo, i, url, copy.repository[i], position, backlogs.at(static_cast<std::size_t>(i)), copy.reset);
    }
    return static_cast<Datum>(0);
  });
}

DBOPS_SQL_FUNCTION(dbops_reset_archive_counters) {
  return boundary([fcinfo]() -> Datum {
    (void)fcinfo;
    with_archive_shared([](ArchiveShared& memory) {
      for (RepositoryStatus& status : memory.repository)
        status.files = status.file_bytes = status.chunks = status.merges = status.chunk_bytes = status.stored_bytes =
            status.retries = status.failures = 0;
      memory.reset = GetCurrentTimestamp();
    });
    PG_RETURN_VOID();
  });
}
