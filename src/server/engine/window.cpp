#include "server/engine/window.h"

#include "server/engine/bookkeeping.h"

namespace dbops::server {

namespace {

std::string text_of(const nlohmann::json& spec, const char* name) {
  const auto found = spec.find(name);
  return found != spec.end() && found->is_string() ? found->get<std::string>() : std::string();
}

} // namespace

JobWindow::JobWindow(const Job& job) : text_(text_of(job.spec, "windows")), timezone_(text_of(job.spec, "timezone")) {
  core::WindowError error{};
  if (!text_.empty()) windows_ = core::Windows::parse(text_, error);
}

std::optional<JobWindow::Closed> JobWindow::closed() const {
  if (!windows_) return std::nullopt;
  // now(), so that both statements mean the same moment.
  const Rows local =
      bookkeep("SELECT extract(dow FROM t)::int, (extract(hour FROM t) * 60 + extract(minute FROM t))::int"
               " FROM (SELECT now() AT TIME ZONE $1 AS t) l",
               {timezone_});
  const core::LocalMinute now{static_cast<int>(local.integer(0, 0)), static_cast<int>(local.integer(0, 1))};
  const int minutes = windows_->minutes_until_open(now);
  if (minutes == 0) return std::nullopt;
  // The server's rules for daylight saving time decide when that minute is. Where the clocks are put back it is twice:
  // the first counts, which is that many minutes from now; after that, the one of an hour ago, it is looked for again.
  const Rows opening = bookkeep(
      "SELECT ceil(extract(epoch FROM CASE WHEN first AT TIME ZONE $1 = opens THEN first"
      " WHEN opens AT TIME ZONE $1 > now() THEN opens AT TIME ZONE $1 ELSE now() + interval '1 minute' END))::bigint "
      "FROM"
      " (SELECT date_trunc('minute', now()) + w AS first, date_trunc('minute', now() AT TIME ZONE $1) + w AS opens"
      " FROM (SELECT $2::integer * interval '1 minute') AS m(w)) o",
      {timezone_, to_text(minutes)});
  return Closed{text_, minutes, opening.integer(0, 0)};
}

const std::optional<JobWindow::Closed>& JobWindow::closed_now(Session& session) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point now = Clock::now();
  if (windows_ && (looked_at_ == Clock::time_point{} || now - looked_at_ >= std::chrono::seconds(1))) {
    last_ = session.transaction([this] { return closed(); });
    looked_at_ = now;
  }
  return last_;
}

} // namespace dbops::server
