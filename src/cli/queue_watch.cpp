#include "cli/queue_watch.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>

namespace dbops::cli {

namespace {

using std::chrono::milliseconds;

using Clock = std::chrono::steady_clock;

constexpr milliseconds longest_answer{2'000}; // of the server to a look
constexpr milliseconds after_failure{5'000};  // until the next one
constexpr milliseconds longest_unseen{2'500}; // a statement that has been sent, or is just over

// $1: the mark, $2 and $3: process and server, NULL behind a pooler. Without them only the text tells which of the
// pooler's sessions it is; parallel workers have it as well. Another server may have the same process number.
constexpr const char* it =
    "a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid() AND CASE WHEN"
    " $2::pg_catalog.int4 IS NULL THEN a.state = 'active' AND a.leader_pid IS NULL AND a.usename = session_user"
    " AND pg_catalog.starts_with(a.query, $1::pg_catalog.text)"
    " ELSE a.pid = $2 AND extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text ="
    " $3::pg_catalog.text END";

// $4: seconds; 0: who waits for it is not asked. Of those who wait, those who read and write: the DDL of somebody else
// may wait. pg_blocking_pids stops the lock manager, so only those who wait for long and for what it has or wants are
// asked, the likeliest first, until one waits for it. Names of the modes that conflict with theirs: lock.c.
std::string look_sql() {
  return "WITH locks AS MATERIALIZED (SELECT l.pid, l.mode, l.granted, l.waitstart, l.locktype,"
         " pg_catalog.concat_ws(' ', l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid,"
         "   l.transactionid, l.classid, l.objid, l.objsubid) AS tag,"
         " NOT l.granted AND l.locktype NOT IN ('advisory', 'virtualxid') AND (l.locktype <> 'relation'"
         "   OR l.mode IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')) AS waits"
         " FROM pg_catalog.pg_locks l)"
         " SELECT t.pid, (SELECT pg_catalog.string_agg(CASE b WHEN 0 THEN 'a prepared transaction' ELSE"
         "   dbops.describe_process(b) END, '; ') FROM pg_catalog.unnest(CASE WHEN EXISTS (SELECT FROM locks m"
         "   WHERE m.pid = t.pid AND NOT m.granted) THEN pg_catalog.pg_blocking_pids(t.pid) END) b) AS holders,"
         " (SELECT pg_catalog.count(*) || CASE pg_catalog.count(*) WHEN 1 THEN ' session, ' ELSE"
         "   ' sessions, the first ' END || dbops.describe_process(q.pid) FROM locks o WHERE o.tag = q.tag AND o.waits"
         "   AND o.waitstart >= q.waitstart AND o.pid <> t.pid HAVING q.pid IS NOT NULL) AS waiters"
         " FROM (SELECT a.pid FROM pg_catalog.pg_stat_activity a WHERE " +
         std::string(it) +
         ") t LEFT JOIN LATERAL (SELECT c.pid, c.tag, c.waitstart FROM (SELECT w.pid, w.tag, w.waitstart"
         "   FROM locks w JOIN locks m ON m.tag = w.tag WHERE m.pid = t.pid AND w.pid <> t.pid AND w.waits"
         "   AND $4::pg_catalog.float8 > 0 AND w.waitstart <= pg_catalog.clock_timestamp() -"
         "     pg_catalog.make_interval(secs => $4::pg_catalog.float8)"
         "   AND (w.locktype <> 'relation' OR m.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',"
         "     'AccessExclusiveLock'))"
         "   GROUP BY w.pid, w.tag, w.waitstart"
         "   ORDER BY pg_catalog.bool_or(m.granted OR m.waitstart <= w.waitstart) DESC NULLS LAST, w.waitstart OFFSET"
         "   0) c WHERE t.pid = ANY (pg_catalog.pg_blocking_pids(c.pid)) LIMIT 1) q ON true";
}

} // namespace

QueueWatch::QueueWatch(Connector& connector, Connection& watched, double limit,
                       std::function<void(const std::string&)> tell)
    : connector_(connector), watched_(watched), limit_(limit), tell_(std::move(tell)) {}

// Without a pooler between, the process tells it from all others, and what the roles may see does not matter.
void QueueWatch::find_process() {
  known_ = true;
  if (!watched_.is_direct()) return;
  process_ = std::to_string(watched_.server_process());
  server_ =
      watched_.execute("SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text").text(0, 0);
}

void QueueWatch::begin(const std::string& name, const std::string& mark, bool bounded) {
  if (!known_) find_process();
  name_ = name;
  mark_ = mark;
  bounded_ = bounded && limit_ > 0;
  cancelled_ = false;
  unseen_.reset();
  waiters_.clear();
  holders_.clear();
  told_.clear();
}

milliseconds QueueWatch::interval() const {
  return milliseconds(limit_ > 0 ? std::clamp(static_cast<int>(limit_ * 100), 50, 500) : 500);
}

// Once for each reason, until it has been seen again.
void QueueWatch::say_blind(const std::string& why) {
  if (blind_.insert(why).second) tell_("nobody looks for how long others wait: " + why);
}

void QueueWatch::fail(const std::string& why) {
  connection_.reset();
  rest_until_ = Clock::now() + after_failure;
  say_blind(why);
}

// The connection is made when a statement takes long for the first time.
void QueueWatch::connect() {
  if (connection_) return;
  connection_ = connector_.reconnect();
  connection_->ignore_notices();
  // Through a pooler that has no connection to the server left, an answer would never come.
  connection_->wait_with([](int socket) {
    pollfd descriptor{.fd = socket, .events = POLLIN, .revents = 0};
    const int ready = poll(&descriptor, 1, static_cast<int>(longest_answer.count()));
    if (ready == 0) throw ConnectionError("no answer from the server");
  });
  // A role that is set for the login could cancel nothing of it.
  if (process_) connection_->execute("SET ROLE NONE");
}

void QueueWatch::look() {
  if (mark_.empty() || cancelled_ || Clock::now() < rest_until_) return;
  try {
    connect();
    const Result found =
        connection_->execute(look_sql(), {mark_, process_, server_, fmt::format("{}", bounded_ ? limit_ : 0)});
    if (found.rows() == 1)
      read(found);
    else
      miss();
  } catch (const ConnectionError& error) {
    fail(error.what());
  } catch (const SqlError& error) {
    fail(error.what());
  }
}

void QueueWatch::miss() {
  if (!unseen_)
    unseen_ = Clock::now();
  else if (Clock::now() - *unseen_ > longest_unseen)
    say_blind("the statement is not seen among those of the server");
}

void QueueWatch::read(const Result& row) {
  unseen_.reset();
  blind_.clear();
  holders_ = row.text(0, row.column("holders"));
  if (!holders_.empty() && holders_ != told_) tell_(name_ + " waits for " + holders_);
  if (!holders_.empty()) told_ = holders_;
  const std::string waiters = row.text(0, row.column("waiters"));
  if (!waiters.empty()) cancel(row.text(0, row.column("pid")), waiters);
}

// Meanwhile it may be over, and the session another's. The comment tells the statement that is cancelled why it is
// (server/migration/execute.cpp).
void QueueWatch::cancel(const std::string& pid, const std::string& waiters) {
  const Result done = connection_->execute("/* dbops cancels " + pid +
                                               " */ SELECT pg_catalog.pg_cancel_backend(a.pid) FROM"
                                               " pg_catalog.pg_stat_activity a WHERE a.pid = $4::pg_catalog.int4 AND " +
                                               it,
                                           {mark_, process_, server_, pid});
  if (done.rows() != 1 || !done.boolean(0, 0)) return;
  cancelled_ = true;
  waiters_ = waiters;
}

} // namespace dbops::cli
