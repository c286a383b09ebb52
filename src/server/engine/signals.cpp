#include "server/engine/signals.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "server/engine/bookkeeping.h"

extern "C" {
#include "access/xlog.h"
#include "access/xlog_internal.h"
}

namespace dbops::server {

namespace {

using Clock = std::chrono::steady_clock;

std::optional<double> load_per_core() {
  std::ifstream file("/proc/loadavg");
  double load = 0;
  const unsigned cores = std::thread::hardware_concurrency();
  if (!(file >> load) || cores == 0) return std::nullopt;
  return load / cores;
}

// Segments that wait for the archiver. Read here and not by pg_ls_archive_statusdir(), which takes a directory that is
// missing for an empty one.
std::optional<double> archive_backlog() {
  namespace fs = std::filesystem;
  if (XLogArchiveMode == ARCHIVE_MODE_OFF) return 0;
  std::error_code error;
  std::int64_t ready = 0;
  for (fs::directory_iterator entry(XLOGDIR "/archive_status", error), end; !error && entry != end;
       entry.increment(error))
    if (entry->path().extension() == ".ready") ++ready;
  if (error) return std::nullopt;
  return static_cast<double>(ready);
}

std::string array_of(const std::vector<Oid>& oids) {
  std::string text = "{";
  for (const Oid oid : oids)
    text += (text.size() > 1 ? "," : "") + std::to_string(oid);
  return text + "}";
}

} // namespace

void SignalReader::read_replicas(core::ThrottleSignals& signals) {
  // A standby reports all its positions at once: who has written WAL and replays none only stores it (pg_receivewal,
  // pg_basebackup -X stream). No position at all: it streams and has not reported yet, so nothing is known of it.
  // States 'startup' and 'backup' stream nothing. Without the right to see the others' states they are null.
  const Rows standbys = bookkeep(
      "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint, r.pid IS NOT NULL, (r.replay_lsn - "
      "'0/0'::pg_lsn)::bigint,"
      " CASE WHEN r.replay_lsn < pg_current_wal_flush_lsn() THEN extract(epoch FROM r.replay_lag) END"
      " FROM (SELECT 1) one LEFT JOIN (SELECT s.pid, s.replay_lsn, s.replay_lag FROM pg_catalog.pg_stat_replication s"
      " LEFT JOIN pg_catalog.pg_replication_slots l ON l.active_pid = s.pid"
      " WHERE coalesce(s.state IN ('streaming', 'catchup'), true) AND l.slot_type IS DISTINCT FROM 'logical'"
      " AND (s.replay_lsn IS NOT NULL OR s.write_lsn IS NULL)) r ON true");
  const Clock::time_point now = Clock::now();
  lag_.primary_at(static_cast<std::uint64_t>(standbys.integer(0, 0)), now);
  double worst = 0;
  for (std::size_t i = 0; i < standbys.size(); ++i) {
    if (!standbys.boolean(i, 1)) continue; // the row that stands for no standby
    if (standbys.is_null(i, 2)) return;    // not known: the signal stays absent
    const auto lag = lag_.lag(static_cast<std::uint64_t>(standbys.integer(i, 2)), now);
    // The estimate begins with this reader; what the standby itself has measured reaches back further.
    worst = std::max({worst, std::chrono::duration<double>(lag).count(), standbys.real(i, 3)});
  }
  signals.replica_lag = worst;
}

void SignalReader::read_wal_rate(core::ThrottleSignals& signals) {
  const Rows position = bookkeep("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint");
  const auto insert = static_cast<std::uint64_t>(position.integer(0, 0));
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - last_insert_at_).count();
  // The first time there is nothing to compare with: not known, until the next look a second later.
  if (last_insert_ != 0 && seconds > 0) signals.wal_rate = static_cast<double>(insert - last_insert_) / seconds;
  last_insert_ = insert;
  last_insert_at_ = now;
}

core::ThrottleSignals SignalReader::read(Session& session, const core::ThrottleLimits& limits,
                                         const std::vector<Oid>& relations) {
  core::ThrottleSignals signals;
  if (limits.max_load) signals.load = load_per_core();
  if (limits.max_archive_backlog) signals.archive_backlog = archive_backlog();
  const auto attempt = [&session](auto&& fn) {
    try {
      session.transaction(fn);
    } catch (const SqlError& error) {
      if (error.code == ERRCODE_QUERY_CANCELED) throw;
    }
  };
  if (limits.max_replica_lag) attempt([&] { read_replicas(signals); });
  if (limits.max_wal_rate) attempt([&] { read_wal_rate(signals); });
  if (limits.max_active_sessions)
    attempt([&] {
      // 'disabled': track_activities is off there. No type: no right to see it. No state: it has just connected.
      const Rows active = bookkeep(
          "SELECT count(*) FILTER (WHERE coalesce(state, 'active') = 'active'),"
          " count(*) FILTER (WHERE backend_type IS NULL OR state = 'disabled') FROM pg_catalog.pg_stat_activity"
          " WHERE coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid()");
      if (active.integer(0, 1) == 0) signals.active_sessions = active.real(0, 0);
    });
  if (limits.pause_for_autovacuum)
    attempt([&] {
      // Null: no right to see which table it is at.
      const Rows running =
          bookkeep("SELECT count(*) FILTER (WHERE relid = ANY ($1::oid[])) > 0, count(*) FILTER (WHERE relid IS NULL)"
                   " FROM pg_catalog.pg_stat_progress_vacuum WHERE datname = current_database()",
                   {array_of(relations)});
      if (running.integer(0, 1) == 0) signals.autovacuum = running.boolean(0, 0);
    });
  return signals;
}

} // namespace dbops::server
