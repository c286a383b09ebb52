#include "server/soft_delete/other_owner.h"

#include <algorithm>
#include <chrono>

#include "core/job/error_class.h"
#include "core/job/throttle.h"
#include "server/engine/signals.h"
#include "server/engine/wait.h"
#include "server/lifecycle/holds.h"

extern "C" {
#include "utils/lsyscache.h"
}

namespace dbops::server::soft_delete {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t rows_at_once = 1'000;
constexpr int most_tries = 3;             // at one row that is locked, or part of a deadlock
constexpr int max_resource_failures = 10; // one after another

bool is_builtin(const std::string& type) {
  return type.find('.') == std::string::npos || type.starts_with("pg_catalog.");
}

// The order in which rows are gone through: that of the index on deletion_id. Where its comparison might be a user's,
// that of the places of the rows.
std::vector<KeyColumn> order_of(const Rule& rule) {
  const bool by_key = !rule.key.empty() && std::all_of(rule.key.begin(), rule.key.end(),
                                                       [](const KeyColumn& column) { return is_builtin(column.type); });
  if (!by_key) return {{"tableoid", "tableoid", "pg_catalog.oid", {}}, {"ctid", "ctid", "pg_catalog.tid", {}}};
  std::vector<KeyColumn> order{{"deletion_id", "deletion_id", "bigint", {}}};
  order.insert(order.end(), rule.key.begin(), rule.key.end());
  return order;
}

class Walk {
 public:
  Walk(Session& session, const Rule& rule, double nice_ratio, lifecycle::DeletionRecord& record,
       const std::function<PurgeCondition(const std::string& alias)>& condition)
      : session_(session), rule_(rule), nice_ratio_(nice_ratio), record_(record), condition_(condition),
        order_(order_of(rule)), alias_(quote_name(call_pg([&rule] { return get_rel_name(rule.table); }))) {}

  OtherOwnersRows run() {
    for (bool more = true; more;) {
      wait_for_turn();
      const Clock::time_point start = Clock::now();
      try {
        more = session_.transaction([this] { return batch(); });
        done_with_batch();
      } catch (const SqlError& error) {
        failed(error);
      }
      pause_ = std::chrono::ceil<milliseconds>((Clock::now() - start) * nice_ratio_);
    }
    return result_;
  }

 private:
  using Place = std::vector<Value>; // values of order_; empty: before the first row

  static std::string text_of(const Place& place);
  // False: there are no more rows.
  bool batch();
  bool choose(const std::string& purging);
  std::uint64_t erase(const std::string& condition);
  void done_with_batch();
  void failed(const SqlError& error);
  void set_aside(const SqlError& error);
  void wait_for_turn();
  // "(t.a, t.b) > ($1::bigint, $2::integer)", of a place whose values are the parameters from `first` on.
  [[nodiscard]] std::string beside(const std::string& comparison, int first) const;
  [[nodiscard]] std::string columns() const;

  Session& session_;
  const Rule& rule_;
  const double nice_ratio_;
  lifecycle::DeletionRecord& record_;
  const std::function<PurgeCondition(const std::string& alias)>& condition_;
  const std::vector<KeyColumn> order_;
  const std::string alias_; // as the condition has it
  OtherOwnersRows result_;

  Place after_; // done up to here
  Place upto_;  // the batch under way; empty: it has not been chosen
  std::int64_t chosen_ = 0;
  std::int64_t limit_ = rows_at_once;
  std::uint64_t erased_ = 0;
  int tries_ = 0;
  int resource_failures_ = 0;

  // Those of dbops.batch_delete. How many wait for a batch is not looked at: it is short.
  const core::ThrottleLimits limits_{.max_replica_lag = 10, .max_archive_backlog = 100};
  core::Throttle throttle_{limits_};
  SignalReader signals_;
  milliseconds pause_{0};
};

std::string Walk::columns() const {
  std::string text;
  for (const KeyColumn& column : order_)
    text += (text.empty() ? "" : ", ") + (alias_ + "." + column.name);
  return text;
}

std::string Walk::beside(const std::string& comparison, int first) const {
  std::string values;
  for (const KeyColumn& column : order_)
    values += (values.empty() ? "$" : ", $") + (to_text(first++) + "::" + column.type);
  return "ROW(" + columns() + ") OPERATOR(pg_catalog." + comparison + ") ROW(" + values + ")";
}

// The end of the next rows whose deletion is being purged, whether they can go or not.
bool Walk::choose(const std::string& purging) {
  std::string places;
  for (std::size_t i = 0; i < order_.size(); ++i)
    places += alias_ + "." + order_[i].name + " AS k" + std::to_string(i) + ", ";
  Settings settings = canonical_text();
  settings.insert(settings.end(), {{"enable_seqscan", "off"}, {"enable_bitmapscan", "off"}}); // one row may be wanted
  const int nest_level = enter_settings(settings);
  const Rows last =
      read_as(rule_.owner,
              "SELECT x.*, pg_catalog.row_number() OVER () AS n FROM (SELECT " + places.substr(0, places.size() - 2) +
                  " FROM " + rule_.name + " WHERE " + alias_ + ".deletion_id IS NOT NULL AND " + purging +
                  (after_.empty() ? "" : " AND " + beside(">", 1)) + " ORDER BY " + columns() + " LIMIT " +
                  to_text(limit_) + ") x ORDER BY n DESC LIMIT 1",
              after_);
  leave_settings(nest_level);
  if (last.empty()) return false;
  upto_ = last.rows.front();
  upto_.pop_back();
  chosen_ = last.integer(0, order_.size());
  return true;
}

// What the triggers of that table do has its owner's rights and no others. Those that are deferred would run at COMMIT,
// as who purges: at the end of the statement they are its owner's still, and in a restricted operation none can be
// deferred again.
std::uint64_t Walk::erase(const std::string& condition) {
  std::vector<Value> parameters = upto_;
  parameters.insert(parameters.end(), after_.begin(), after_.end());
  const std::string sql = "DELETE FROM " + rule_.name +
                          " AS dbops_purged WHERE (dbops_purged.tableoid, dbops_purged.ctid) IN (SELECT " + alias_ +
                          ".tableoid, " + alias_ + ".ctid FROM " + rule_.name + " WHERE " + beside("<=", 1) +
                          (after_.empty() ? "" : " AND " + beside(">", static_cast<int>(order_.size()) + 1)) + " AND " +
                          condition + lifecycle::unheld(rule_.table, alias_) + " ORDER BY " + columns() + " LIMIT " +
                          to_text(chosen_) + " FOR UPDATE OF " + alias_ + ")";
  query("SET CONSTRAINTS ALL IMMEDIATE");
  // Of rows that refer to these none may be hidden from that owner: row-level security raises 42501 instead, as in a
  // job.
  const int nest_level = enter_settings({{"enable_seqscan", "off"}, {"row_security", "off"}});
  const Rows erased =
      as_role(GetUserId(), SECURITY_RESTRICTED_OPERATION, [&] { return run_as_owner(rule_, sql, parameters); });
  leave_settings(nest_level);
  return erased.processed;
}

std::string Walk::text_of(const Place& place) {
  std::string list;
  for (const Value& value : place)
    list += (list.empty() ? "(" : ", ") + value.value_or("NULL");
  return list.empty() ? "beginning" : list + ")";
}

bool Walk::batch() {
  upto_.clear();
  lifecycle::begin_deleting();
  const PurgeCondition condition = condition_(alias_);
  if (!choose(condition.purging)) return false;
  erased_ = erase(condition.all);
  record_.add(static_cast<std::int64_t>(erased_), text_of(after_), text_of(upto_));
  return true;
}

void Walk::done_with_batch() {
  tries_ = resource_failures_ = 0;
  if (upto_.empty()) return;
  result_.purged += static_cast<std::int64_t>(erased_);
  after_ = upto_;
  limit_ = std::min(limit_ * 2, rows_at_once);
}

void Walk::failed(const SqlError& error) {
  if (upto_.empty()) throw error; // not one of its rows
  switch (core::classify(error.sqlstate())) {
  case core::ErrorClass::interrupted:
    throw error;
  case core::ErrorClass::contention:
    if (chosen_ == 1 && ++tries_ < most_tries) {
      sleep_whole(milliseconds(50 << tries_));
      return;
    }
    break;
  case core::ErrorClass::resource:
    if (++resource_failures_ > max_resource_failures) throw error;
    break;
  default: // whatever it says, it comes from that role's triggers and rows
    resource_failures_ = 0;
    break;
  }
  if (chosen_ > 1)
    limit_ = chosen_ / 2;
  else
    set_aside(error);
}

void Walk::set_aside(const SqlError& error) {
  if (result_.aside++ == 0) {
    for (std::size_t i = 0; i < order_.size(); ++i)
      if (order_[i].plain != "tableoid")
        result_.first += (result_.first.empty() ? "" : ", ") + (order_[i].plain + " " + upto_[i].value_or("NULL"));
    result_.error = error.message;
  }
  after_ = upto_;
  tries_ = 0;
}

void Walk::wait_for_turn() {
  if (pause_ > milliseconds(0)) sleep_whole(pause_);
  while (!throttle_.reasons(signals_.read(session_, limits_, {rule_.table})).empty())
    sleep_whole(milliseconds(250));
}

} // namespace

OtherOwnersRows delete_rows_of_other_owner(Session& session, const Rule& rule, double nice_ratio,
                                           lifecycle::DeletionRecord& record,
                                           const std::function<PurgeCondition(const std::string& alias)>& condition) {
  return Walk(session, rule, nice_ratio, record, condition).run();
}

} // namespace dbops::server::soft_delete
