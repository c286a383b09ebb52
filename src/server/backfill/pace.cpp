#include "server/backfill/pace.h"

#include <algorithm>
#include <limits>

#include "server/engine/processes.h"
#include "server/engine/run.h"
#include "server/engine/shared.h"
#include "server/engine/wait.h"

namespace dbops::server::backfill {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds signal_age{1'000};     // signals are read that often
constexpr milliseconds shown_after{250};      // a shorter wait is not worth a row version
constexpr seconds shown_again{5};             // the numbers in the reason change; the row need not, each time
constexpr milliseconds lock_wait_memory{500}; // long enough to be shown
constexpr double bytes_smoothing = 0.4;       // weight of the newest batch

// The same wait goes on when the numbers in its reason change.
std::string kind_of(const std::string& reason) {
  return reason.substr(0, reason.find_first_of("0123456789"));
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts)
    text += (text.empty() ? "" : "; ") + part;
  return text;
}

} // namespace

Pace::Pace(Session& session, const Job& job, int slice, const Spec& spec)
    : session_(session), job_(job), slice_(slice), spec_(spec), throttle_(spec.limits), window_(job) {
  const Clock::time_point now = Clock::now();
  if (spec.max_rows_per_second) rows_.emplace(*spec.max_rows_per_second / job.parallel, now);
  if (spec.max_bytes_per_second) bytes_.emplace(*spec.max_bytes_per_second / job.parallel, now);
  const core::ThrottleLimits& limits = spec.limits;
  has_limits_ = limits.max_replica_lag || limits.max_wal_rate || limits.max_archive_backlog ||
                limits.max_lock_waiters || limits.max_active_sessions || limits.max_load || limits.pause_for_autovacuum;
}

void Pace::read_signals() {
  const Clock::time_point now = Clock::now();
  if (signals_at_ == Clock::time_point{} || now - signals_at_ >= signal_age) {
    const std::vector<Oid> relations = spec_.limits.pause_for_autovacuum
                                           ? session_.transaction([this] { return family(job_.target); })
                                           : std::vector<Oid>();
    signals_ = reader_.read(session_, spec_.limits, relations);
    signals_at_ = now;
  }
  signals_.lock_waiters = now - batch_at_ < lock_wait_memory ? last_waiters_ : 0;
}

bool Pace::outside_window() {
  return session_.top_level() && window_.closed_now(session_).has_value();
}

// Empty: go on. at_most: look again after that time.
std::string Pace::reason_to_wait(const Tokens& wanted, milliseconds& at_most) {
  at_most = milliseconds(1'000);
  if (const std::optional<JobWindow::Closed>& closed = window_.closed_now(session_))
    return "time window " + closed->windows + ", opens in " + to_text(closed->minutes) + " min";
  if (has_limits_) {
    read_signals();
    const std::vector<std::string> reasons = throttle_.reasons(signals_);
    if (!reasons.empty()) {
      at_most = milliseconds(250);
      return joined(reasons);
    }
  }
  const Clock::time_point now = Clock::now();
  const auto wait_for = [&](Clock::duration wait, const char* reason) -> std::string {
    at_most = std::min(at_most, std::chrono::ceil<milliseconds>(wait));
    return reason;
  };
  const auto missing = [now](const std::optional<core::TokenBucket>& bucket, double tokens) {
    return bucket && tokens > 0 ? bucket->wait(tokens, now) : Clock::duration::zero();
  };
  if (const auto wait = missing(rows_, wanted.rows); wait > Clock::duration::zero())
    return wait_for(wait, "max_rows_per_second");
  if (const auto wait = missing(bytes_, wanted.bytes); wait > Clock::duration::zero())
    return wait_for(wait, "max_bytes_per_second");
  if (not_before_ > now) return wait_for(not_before_ - now, "nice_ratio");
  return {};
}

Pace::Tokens Pace::cost_of(std::int64_t rows) const {
  const auto count = static_cast<double>(rows);
  return {count, count * bytes_a_row_};
}

void Pace::take(const Tokens& tokens) {
  const Clock::time_point now = Clock::now();
  if (rows_) rows_->take(tokens.rows, now);
  if (bytes_) bytes_->take(tokens.bytes, now);
  taken_ = tokens;
}

void Pace::settle(const Tokens& cost) {
  const Clock::time_point now = Clock::now();
  if (rows_) rows_->settle(taken_.rows, cost.rows, now);
  if (bytes_) bytes_->settle(taken_.bytes, cost.bytes, now);
  taken_ = {};
}

std::int64_t Pace::most_rows() const {
  double most = std::numeric_limits<std::int32_t>::max();
  if (rows_) most = std::min(most, rows_->burst());
  if (bytes_) most = std::min(most, bytes_->burst() / bytes_a_row_);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(most));
}

bool Pace::wait_for_turn(std::optional<std::int64_t> rows) {
  settle({}); // the batch that the tokens were for was rolled back
  const Tokens wanted = rows ? cost_of(*rows) : Tokens{};
  const Clock::time_point start = Clock::now();
  Clock::time_point shown{};
  Clock::time_point asked = start;
  for (;;) {
    if (asked_to_leave() || outside_window()) return true; // the caller looks as well
    if (worked_ && session_.top_level() && (has_surplus_slot() || give_slot_back(job_.priority))) {
      gives_way_ = true;
      return true;
    }
    milliseconds at_most{};
    const std::string reason = reason_to_wait(wanted, at_most);
    if (reason.empty()) {
      take(wanted);
      return true;
    }
    worked_ = true; // as good as: others could use the slot meanwhile
    const Clock::time_point now = Clock::now();
    const bool news = shown == Clock::time_point{} || kind_of(reason) != waited_for_;
    if (now - start >= shown_after && (news || now - shown >= shown_again)) {
      say_waiting(reason);
      shown = now;
    }
    if (shown == Clock::time_point{})
      at_most = std::min(at_most, std::chrono::ceil<milliseconds>(start + shown_after - now));
    if (now - asked >= seconds(1)) {
      asked = now;
      const bool running = session_.transaction([this] { return read_state(job_.id) == core::JobState::running; });
      if (!running) return false;
    }
    try {
      nap(at_most);
    } catch (const SqlError& error) {
      if (error.code != ERRCODE_QUERY_CANCELED || asked_to_leave()) {
        if (error.code == ERRCODE_QUERY_CANCELED) return true;
        throw;
      }
      // pause() and cancel() have changed the state; otherwise it is somebody's wish to stop this process.
      if (session_.transaction([this] { return read_state(job_.id) == core::JobState::running; })) throw;
      return false;
    }
  }
}

void Pace::batch_took(Clock::duration time) {
  not_before_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(time * spec_.nice_ratio);
}

void Pace::batch_done(const BatchResult& result, std::int64_t visited) {
  const auto bytes = static_cast<double>(result.wal_bytes);
  settle({static_cast<double>(result.rows + result.dependent_rows), bytes});
  if (visited > 0)
    bytes_a_row_ += bytes_smoothing * (std::max(1.0, bytes / static_cast<double>(visited)) - bytes_a_row_);
  last_waiters_ = result.waiters;
  batch_at_ = Clock::now();
  worked_ = true;
}

void Pace::say_waiting(const std::string& reason) {
  const bool same = kind_of(reason) == std::exchange(waited_for_, kind_of(reason));
  session_.transaction([&] {
    bookkeep("UPDATE dbops.job_slice SET waiting_for = $3, waiting_since = CASE WHEN $4::boolean THEN"
             " coalesce(waiting_since, clock_timestamp()) ELSE clock_timestamp() END"
             " WHERE job_id = $1::bigint AND slice = $2::integer",
             {to_text(job_.id), to_text(slice_), reason, same ? "true" : "false"});
  });
}

} // namespace dbops::server::backfill
