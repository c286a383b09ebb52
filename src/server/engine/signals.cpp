#include "server/engine/signals.h"

#include <algorithm>
#include <fstream>
#include <thread>

#include "server/engine/bookkeeping.h"

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

std::string array_of(const std::vector<Oid>& oids) {
  std::string text = "{";
  for (const Oid oid : oids) text += (text.size() > 1 ? "," : "") + std::to_string(oid);
  return text + "}";
}

} // namespace

void SignalReader::read_replicas(core::ThrottleSignals& signals) {
  const Rows standbys = bookkeep(
      "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint, (r.replay_lsn - '0/0'::pg_lsn)::bigint"
      " FROM (SELECT 1) one LEFT JOIN (SELECT replay_lsn FROM pg_catalog.pg_stat_replication s"
      " LEFT JOIN pg_catalog.pg_replication_slots l ON l.active_pid = s.pid"
      " WHERE s.state IN ('streaming', 'catchup') AND l.slot_type IS DISTINCT FROM 'logical') r ON true");
  const Clock::time_point now = Clock::now();
  lag_.primary_at(static_cast<std::uint64_t>(standbys.integer(0, 0)), now);
  double worst = 0;
  for (std::size_t i = 0; i < standbys.size(); ++i) {
    if (standbys.is_null(i, 1)) continue; // no standby, or one that has not reported a position yet
    const auto lag = lag_.lag(static_cast<std::uint64_t>(standbys.integer(i, 1)), now);
    worst = std::max(worst, std::chrono::duration<double>(lag).count());
  }
  signals.replica_lag = worst;
}

void SignalReader::read_wal_rate(core::ThrottleSignals& signals) {
  const Rows position = bookkeep("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint");
  const auto insert = static_cast<std::uint64_t>(position.integer(0, 0));
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - last_insert_at_).count();
  // Nothing to compare with the first time: that is not a signal that cannot be read.
  signals.wal_rate = last_insert_ == 0 || seconds <= 0 ? 0.0 : static_cast<double>(insert - last_insert_) / seconds;
  last_insert_ = insert;
  last_insert_at_ = now;
}

core::ThrottleSignals SignalReader::read(Session& session, const core::ThrottleLimits& limits, const std::vector<Oid>& relations) {
  core::ThrottleSignals signals;
  if (limits.max_load) signals.load = load_per_core();
  const auto attempt = [&session](auto&& fn) {
    try {
      session.transaction(fn);
    } catch (const SqlError& error) {
      if (error.code == ERRCODE_QUERY_CANCELED) throw;
    }
  };
  if (limits.max_replica_lag) attempt([&] { read_replicas(signals); });
  if (limits.max_wal_rate) attempt([&] { read_wal_rate(signals); });
  if (limits.max_archive_backlog)
    attempt([&] {
      const Rows ready = bookkeep("SELECT CASE WHEN current_setting('archive_mode') = 'off' THEN 0 ELSE"
                                  " (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') END");
      signals.archive_backlog = ready.real(0, 0);
    });
  if (limits.max_active_sessions)
    attempt([&] {
      const Rows active = bookkeep("SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE state = 'active'"
                                   " AND backend_type = 'client backend' AND pid <> pg_backend_pid()");
      signals.active_sessions = active.real(0, 0);
    });
  if (limits.pause_for_autovacuum)
    attempt([&] {
      const Rows running = bookkeep("SELECT count(*) > 0 FROM pg_catalog.pg_stat_progress_vacuum"
                                    " WHERE datname = current_database() AND relid = ANY ($1::oid[])",
                                    {array_of(relations)});
      signals.autovacuum = running.boolean(0, 0);
    });
  return signals;
}

} // namespace dbops::server
