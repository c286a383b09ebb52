#include "server/lifecycle/expired_partitions.h"

#include <deque>

#include "core/job/error_class.h"
#include "server/backfill/table.h"
#include "server/engine/job_record.h"
#include "server/engine/run.h"
#include "server/engine/time_limit.h"
#include "server/engine/toplevel.h"
#include "server/engine/wait.h"
#include "server/lifecycle/holds.h"
#include "server/lifecycle/partition_bounds.h"

extern "C" {
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::lifecycle {

namespace {

using std::chrono::milliseconds;

// DETACH CONCURRENTLY waits for the transactions that use the table, and keeps nobody waiting meanwhile.
constexpr const char* detach_timeout = "60s";
constexpr int most_tries = 5;              // to lock the table or a partition, at lock_timeout each
constexpr milliseconds shortest_hold{100}; // of the lock on a whole table, however short lock_timeout is
// Detached partitions that are dropped in one transaction: its COMMIT removes their files, and waits for the disk once.
constexpr std::size_t dropped_at_once = 32;

struct Candidate {
  PartitionBounds bounds;
  std::int64_t rows = 0; // estimate
};

class Removal {
 public:
  Removal(Session& session, const Job& job, const backfill::Spec& spec) : session_(session), job_(job), spec_(spec) {}

  bool run() {
    if (!load()) return true;
    finish_earlier_ones();
    const bool go_on = remove_all();
    settle_detached();
    return go_on;
  }

 private:
  enum class Step { none, found, left, settle, stopped };

  bool remove_all() {
    for (;;) {
      if (asked_to_leave()) return true; // the rest of the job sees it as well
      const Step step = session_.transaction([this] { return next(); });
      if (step == Step::none) return true;
      if (step == Step::stopped) return false;
      if (step == Step::left) continue;
      if (step == Step::found) remove(chosen_);
      if (step == Step::settle || detached_.size() >= dropped_at_once) settle_detached();
    }
  }

  bool load() {
    return session_.transaction([this] {
      rule_ = lock_rule(spec_.rule);
      // In somebody else's session partitions are not touched: rows are deleted there.
      return rule_.partitions != Partitions::rows && GetUserId() == job_.owner &&
             call_pg([target = job_.target] { return get_rel_relkind(target); }) == RELKIND_PARTITIONED_TABLE;
    });
  }

  void note(Oid partition, const std::string& state, const std::string& detail) {
    bookkeep("UPDATE dbops.retention_partition SET state = $3, detail = nullif($4, ''), at = clock_timestamp() WHERE "
             "rule_id = $1::bigint"
             " AND relation_oid = $2::oid",
             {to_text(rule_.id), to_text(partition), state, detail});
  }

  // The oldest expired partition that has not been looked at in this run.
  Step next() {
    if (extension_oid() == InvalidOid || read_state(job_.id) != core::JobState::running) return Step::stopped;
    const std::string objection = objection_of_rule(spec_.rule, job_.owner, spec_.cutoff);
    if (!objection.empty()) return Step::none; // the deletion of rows says so
    commit_without_waiting();                  // the detach, which comes later in the WAL, waits
    if (!expired_) expired_ = expired_partitions();
    while (!expired_->empty()) {
      const Oid oid = expired_->front();
      expired_->pop_front();
      const std::optional<PartitionBounds> partition = partition_of(job_.target, spec_.age_column, oid);
      if (partition && !partition->detaching && is_expired(*partition)) return look_at(*partition);
    }
    return Step::none;
  }

  // One that is attached later goes by its rows, or in the next run.
  std::deque<Oid> expired_partitions() {
    std::deque<Oid> found;
    for (const PartitionBounds& partition : partitions_of(job_.target, spec_.age_column)) {
      if (partition.detaching) continue;
      if (!is_expired(partition)) break; // nor are those that come after it
      found.push_back(partition.oid);
    }
    return found;
  }

  Step look_at(const PartitionBounds& partition) {
    chosen_ = {partition, estimate(partition.oid)};
    const std::string why = obstacle(partition.oid, InvalidOid);
    record(chosen_, why.empty() ? "detaching" : "kept", why);
    if (!why.empty()) return Step::left;
    // With this one, which is recorded already.
    const std::int64_t rows = removed_rows();
    if (!spec_.max_rows || rows <= *spec_.max_rows) return Step::found;
    note(partition.oid, "kept", "beyond the maximum of a run");
    if (!detached_.empty()) { // which may stay still; then this one is looked at again
      expired_->push_front(partition.oid);
      return Step::settle;
    }
    stop_and_ask(job_.id, spec_, rows);
    return Step::stopped;
  }

  bool is_expired(const PartitionBounds& partition) {
    if (!partition.upper) return false;
    const int nest_level = enter_settings(spec_.settings);
    const Rows answer = ask_catalog("SELECT $1::" + partition.type + " <= ($2::timestamptz)::" + partition.type,
                                    {*partition.upper, spec_.cutoff});
    leave_settings(nest_level);
    return answer.boolean(0, 0);
  }

  static std::int64_t estimate(Oid partition) {
    double rows = 0;
    for (const Oid member : backfill::family(partition))
      if (const auto table = backfill::describe_table(member, {})) rows += table->rows;
    return static_cast<std::int64_t>(rows);
  }

  // Deleted by this job so far.
  std::int64_t removed_rows() {
    return bookkeep("SELECT coalesce((SELECT sum(rows_done + rows_dependent) FROM dbops.job_slice WHERE job_id = "
                    "$1::bigint), 0)"
                    " + coalesce((SELECT sum(rows) FROM dbops.retention_partition WHERE job_id = $1::bigint AND state "
                    "<> 'kept'), 0)",
                    {to_text(job_.id)})
        .integer(0, 0);
  }

  void record(const Candidate& candidate, const std::string& state, const std::string& detail) {
    bookkeep(
        "INSERT INTO dbops.retention_partition (rule_id, relation_oid, job_id, relation, upper_bound, rows, bytes, "
        "state, detail, bound)"
        " VALUES ($1::bigint, $2::oid, $3::bigint, $4, $5, $6::bigint, dbops.family_size($2::oid), $7, nullif($8, ''),"
        " $9) ON CONFLICT (rule_id, relation_oid) DO UPDATE SET job_id = excluded.job_id, relation = excluded.relation,"
        " upper_bound = excluded.upper_bound, bound = excluded.bound, rows = excluded.rows, bytes = excluded.bytes, "
        "state = excluded.state,"
        " detail = excluded.detail, at = clock_timestamp()",
        {to_text(rule_.id), to_text(candidate.bounds.oid), to_text(job_.id), candidate.bounds.name,
         candidate.bounds.upper.value_or(""), to_text(candidate.rows), state, detail, candidate.bounds.clause});
  }

  // --- one partition
  // --------------------------------------------------------------------------------------------------

  void remove(const Candidate& candidate) {
    const bool concurrently =
        session_.top_level() && session_.transaction([this] { return !has_default_partition(job_.target); });
    try {
      if (concurrently) {
        detach(candidate);
        detached_.push_back(candidate.bounds);
      } else
        attempt([this, &candidate] { detach_and_drop(candidate); });
    } catch (const SqlError& error) {
      give_up(candidate.bounds.oid, error);
    }
  }

  bool detached_by_rule(Oid partition) {
    return !bookkeep("SELECT 1 FROM dbops.retention_partition WHERE rule_id = $1::bigint AND relation_oid = $2::oid"
                     " AND state = 'detached'",
                     {to_text(rule_.id), to_text(partition)})
                .empty();
  }

  // Kept for the rows to be deleted, or for the next run. Also when the whole job is to stop: what is said to be
  // detaching, somebody else may detach meanwhile, for reasons of his own.
  void give_up(Oid partition, const SqlError& error) {
    session_.transaction([&] {
      const Rows attached =
          ask_catalog("SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = $1::oid", {to_text(partition)});
      // What is half detached, or detached by dbops and not yet dropped, is finished by the next run.
      const char* state = !attached.empty()             ? (attached.boolean(0, 0) ? "detaching" : "kept")
                          : detached_by_rule(partition) ? "detached"
                                                        : "kept";
      note(partition, state, error.message);
    });
  }

  // Again when somebody has the table or the partition.
  template <typename F>
  void attempt(F&& body) {
    for (int tries = 1;; ++tries) {
      try {
        session_.transaction([&] {
          lock_at_most((to_text(spec_.lock_timeout_ms) + "ms").c_str());
          if (read_state(job_.id) != core::JobState::running) return;
          body();
        });
        return;
      } catch (const SqlError& error) {
        if (tries == most_tries ||
            (error.code != ERRCODE_LOCK_NOT_AVAILABLE && error.code != ERRCODE_T_R_DEADLOCK_DETECTED))
          throw;
      }
      sleep_whole(milliseconds(200 * tries));
    }
  }

  // Commits without waiting for the disk: what is dropped later waits for all of it, and what a crash takes back is
  // begun again.
  void detach(const Candidate& candidate) {
    const Oid oid = candidate.bounds.oid;
    const std::string statement = session_.transaction([&] {
      return "ALTER TABLE " + qualified_name(job_.target) + " DETACH PARTITION " + still_to_detach(oid).name +
             " CONCURRENTLY";
    });
    run_top_level(
        statement,
        {{"lock_timeout", detach_timeout}, {"search_path", "pg_catalog, pg_temp"}, {"synchronous_commit", "off"}},
        true);
    session_.transaction([&] {
      if (is_partition(oid))
        throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "another one had its name when it was detached");
      commit_without_waiting();
      note(oid, "detached", "");
    });
  }

  static bool is_partition(Oid oid) {
    return !ask_catalog("SELECT 1 FROM pg_inherits WHERE inhrelid = $1::oid", {to_text(oid)}).empty();
  }

  // As it is now: since it was chosen, names may have changed hands.
  PartitionBounds still_to_detach(Oid oid) {
    std::optional<PartitionBounds> now = partition_of(job_.target, spec_.age_column, oid);
    if (!now || now->detaching || !is_expired(*now))
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "it was changed after it was found to have expired");
    return *std::move(now);
  }

  // By its number: from then on it keeps its name.
  static void lock_relation(Oid oid) {
    call_pg([oid] { LockRelationOid(oid, AccessExclusiveLock); });
  }

  // With the partitions that it has itself: who writes into one of those by its name locks no other.
  static void lock_family(Oid oid) {
    lock_relation(oid);
    call_pg([oid] { list_free(find_all_inheritors(oid, AccessExclusiveLock, nullptr)); });
  }

  // With a default partition PostgreSQL detaches only under a lock on the whole table: for a moment, in one
  // transaction.
  void detach_and_drop(const Candidate& candidate) {
    const Oid oid = candidate.bounds.oid;
    if (const std::string why = objection_of_rule(spec_.rule, job_.owner, spec_.cutoff); !why.empty()) {
      note(oid, "kept", why);
      return;
    }
    lock_relation(job_.target);
    lock_family(oid);
    const std::string name = still_to_detach(oid).name;
    // Again, under the lock: a hold may have been placed since it was chosen. What is detached leaves the hold as well.
    if (const std::string why = obstacle_soon(oid); !why.empty()) {
      note(oid, "kept", why);
      return;
    }
    allow_to_drop(oid);
    query("ALTER TABLE " + qualified_name(job_.target) + " DETACH PARTITION " + name);
    if (rule_.partitions == Partitions::detach) {
      note(oid, "kept", "detached, as the rule says");
      return;
    }
    query("DROP TABLE " + name);
    note(oid, "dropped", "");
  }

  // The condition of a hold is asked of each row, and everybody waits for the table meanwhile.
  std::string obstacle_soon(Oid oid) {
    const TimeLimit limit(std::max(milliseconds(spec_.lock_timeout_ms), shortest_hold));
    try {
      return obstacle(oid, job_.target);
    } catch (const SqlError& error) {
      if (error.code != ERRCODE_QUERY_CANCELED || !limit.over()) throw;
      throw SqlError(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                     "the table cannot be locked for as long as it takes to ask each row of "
                     "the partition whether it is under a legal hold");
    }
  }

  // All at once; one by one when one of them is in the way.
  void settle_detached() {
    const std::vector<PartitionBounds> detached = std::exchange(detached_, {});
    if (detached.empty()) return;
    try {
      attempt([this, &detached] {
        for (const PartitionBounds& one : detached)
          settle_now(one.oid, one.name);
      });
    } catch (const SqlError&) {
      for (const PartitionBounds& one : detached) {
        try {
          settle(one.oid, one.name);
        } catch (const SqlError& error) {
          give_up(one.oid, error);
        }
      }
    }
  }

  void settle(Oid oid, const std::string& name) {
    attempt([&] { settle_now(oid, name); });
  }

  // A hold was placed while the partition was being detached: it is part of its table again, so that the hold covers
  // it for everybody, and queries of the table see its rows. It has the constraint that DETACH CONCURRENTLY leaves, so
  // that it is not read. What cannot be attached stays a table, which the next run looks at again.
  void put_back(Oid oid, const std::string& name, const std::string& why) {
    // With one, ATTACH would lock it against everybody and read it.
    if (has_default_partition(job_.target)) {
      note(oid, "detached", why + "; it is not attached again, as its table has a default partition");
      return;
    }
    const std::string bound =
        bookkeep("SELECT bound FROM dbops.retention_partition WHERE rule_id = $1::bigint AND relation_oid = $2::oid",
                 {to_text(rule_.id), to_text(oid)})
            .text(0, 0);
    try {
      in_savepoint([&] {
        const int nest_level = enter_settings(canonical_text());
        query("ALTER TABLE " + qualified_name(job_.target) + " ATTACH PARTITION " + name + " " + bound);
        leave_settings(nest_level);
        return true;
      });
      note(oid, "kept", why);
    } catch (const SqlError& error) {
      using core::ErrorClass;
      const ErrorClass of_error = core::classify(error.sqlstate());
      if (of_error == ErrorClass::contention || of_error == ErrorClass::interrupted) throw;
      note(oid, "detached", why + "; it could not be attached again: " + error.message);
    }
  }

  // What to do with a partition of the rule's that is detached.
  void settle_now(Oid oid, const std::string& name) {
    const std::string objection = objection_of_rule(spec_.rule, job_.owner, spec_.cutoff);
    begin_deleting();
    lock_family(oid);
    const std::string now = qualified_name(oid);
    if (now.empty()) {
      note(oid, "gone", "dropped by somebody else");
      return;
    }
    if (is_partition(oid) || now != name) {
      note(oid, "kept", "attached or renamed by somebody else");
      return;
    }
    if (const std::string why = obstacle(oid, job_.target); !why.empty()) {
      put_back(oid, now, why);
      return;
    }
    if (!objection.empty()) {
      note(oid, "detached", objection); // by the rule as it is by then, the next run looks at it again
      return;
    }
    if (rule_.partitions != Partitions::drop) {
      note(oid, "kept", "detached, as the rule says");
      return;
    }
    allow_to_drop(oid);
    query("DROP TABLE " + now);
    note(oid, "dropped", "");
  }

  // --- what an earlier run has left
  // -----------------------------------------------------------------------------------

  void finish_earlier_ones() {
    const Rows pending = session_.transaction([this] {
      return ask_catalog("SELECT i.inhrelid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_inherits i"
                         " JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
                         " WHERE i.inhparent = $1::oid AND i.inhdetachpending",
                         {to_text(job_.target)});
    });
    for (std::size_t i = 0; i < pending.size(); ++i) {
      try {
        finalize(pending.text(i, 1));
        session_.transaction([&] { note_finalized(static_cast<Oid>(pending.integer(i, 0))); });
      } catch (const SqlError& error) {
        give_up(static_cast<Oid>(pending.integer(i, 0)), error);
      }
    }
    session_.transaction([this] { leave_those_of_others(); });
    const Rows left = session_.transaction([this] {
      return bookkeep(
          "SELECT relation_oid, relation, upper_bound FROM dbops.retention_partition WHERE rule_id = $1::bigint"
          " AND state = 'detached' AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = "
          "relation_oid)"
          " ORDER BY at",
          {to_text(rule_.id)});
    });
    for (std::size_t i = 0; i < left.size(); ++i) {
      const auto oid = static_cast<Oid>(left.integer(i, 0));
      try {
        if (session_.transaction([&] { return still_expired(oid, left.text(i, 2)); })) settle(oid, left.text(i, 1));
      } catch (const SqlError& error) {
        give_up(oid, error);
      }
    }
  }

  // One of ours; another one stays as it is.
  void note_finalized(Oid partition) {
    bookkeep("UPDATE dbops.retention_partition SET state = 'detached', at = clock_timestamp() WHERE rule_id ="
             " $1::bigint AND relation_oid = $2::oid AND state = 'detaching'"
             " AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = $2::oid)",
             {to_text(rule_.id), to_text(partition)});
  }

  // A detach that was about to begin when the run was interrupted, and is done now: not by dbops.
  void leave_those_of_others() {
    bookkeep("UPDATE dbops.retention_partition SET state = 'kept', detail = 'detached by somebody', at ="
             " clock_timestamp() WHERE rule_id = $1::bigint AND state = 'detaching'"
             " AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = relation_oid)",
             {to_text(rule_.id)});
  }

  void finalize(const std::string& partition) {
    const std::string table = session_.transaction([this] { return qualified_name(job_.target); });
    const std::string statement = "ALTER TABLE " + table + " DETACH PARTITION " + partition + " FINALIZE";
    if (session_.top_level())
      run_top_level(statement, {{"lock_timeout", detach_timeout}, {"search_path", "pg_catalog, pg_temp"}}, true);
    else
      session_.transaction([&] {
        lock_at_most(detach_timeout);
        query(statement);
      });
  }

  // By the rule as it is now; it may keep rows for longer than when the partition was detached.
  bool still_expired(Oid oid, const std::string& upper) {
    PartitionBounds partition;
    partition.upper = upper;
    const Rows type = ask_catalog(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = $1::oid AND attnum = $2::integer",
        {to_text(rule_.target), to_text(rule_.column)});
    partition.type = type.text(0, 0);
    if (is_expired(partition)) return true;
    note(oid, "kept", "detached, and by the rule as it is now not expired: attach it again");
    return false;
  }

  Session& session_;
  const Job& job_;
  const backfill::Spec& spec_;
  Rule rule_;
  Candidate chosen_;
  std::vector<PartitionBounds> detached_;  // and not dropped yet
  std::optional<std::deque<Oid>> expired_; // not looked at yet; nothing: they have not been listed
};

} // namespace

std::string obstacle(Oid partition, Oid also) {
  begin_deleting();
  if (const std::string hold = hold_on_rows(partition, also); !hold.empty()) return "rows are under legal " + hold;
  if (OidIsValid(also)) return {};
  bool has_rows = false;
  bool referred = false;
  for (const Oid member : backfill::family(partition)) {
    referred = referred || !dependents_of(member, Children::as_declared).empty();
    if (referred) has_rows = has_rows || !query("SELECT 1 FROM ONLY " + qualified_name(member) + " LIMIT 1").empty();
  }
  return referred && has_rows ? "foreign keys refer to it" : "";
}

bool remove_expired_partitions(Session& session, const Job& job, const backfill::Spec& spec) {
  return Removal(session, job, spec).run();
}

} // namespace dbops::server::lifecycle
