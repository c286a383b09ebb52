#include "server/ddl/clean_up.h"

#include "core/text/json_text.h"
#include "server/ddl/catalog.h"
#include "server/engine/wake.h"

namespace dbops::server::ddl {

namespace {

// A row of dbops.ddl_step of the job that was stopped, from the last backwards.
struct Left {
  std::string makes, name;
  Oid relation = InvalidOid, object = InvalidOid;
};

std::vector<Left> what_was_made(std::int64_t job) {
  const Rows found = bookkeep("SELECT makes, coalesce(name, ''), relation_oid, coalesce(object_oid, 0)"
                              " FROM dbops.ddl_step WHERE job_id = $1::bigint AND makes <> 'nothing'"
                              " AND relation_oid IS NOT NULL ORDER BY step_id DESC",
                              {to_text(job)});
  std::vector<Left> left;
  for (std::size_t i = 0; i < found.size(); ++i)
    left.push_back({found.text(i, 0), found.text(i, 1), static_cast<Oid>(found.integer(i, 2)),
                    static_cast<Oid>(found.integer(i, 3))});
  return left;
}

// By its OID: another one of the same name is somebody else's. One that a partitioned table has taken over stays, and
// one on an index that the job has not made: that would go with it.
std::optional<Step> drop_constraint(const Left& left, std::int64_t of) {
  const Rows found =
      bookkeep("SELECT conname, confrelid FROM pg_catalog.pg_constraint k WHERE oid = $1::oid AND conrelid = $2::oid "
               "AND conparentid = 0 AND coninhcount = 0 AND (contype NOT IN ('p', 'u') OR EXISTS (SELECT FROM "
               "dbops.ddl_step s WHERE s.job_id = $3::bigint AND s.makes = 'index' AND s.object_oid = k.conindid))",
               {to_text(left.object), to_text(left.relation), to_text(of)});
  if (found.empty()) return std::nullopt;
  Step step;
  step.statements = {"ALTER TABLE " + qualified_name(left.relation) + " DROP CONSTRAINT " +
                     quote_name(found.text(0, 0))};
  step.relations = family(left.relation);
  if (const auto other = static_cast<Oid>(found.integer(0, 1)); OidIsValid(other)) step.relations.push_back(other);
  return step;
}

std::optional<Step> drop_index(const Left& left, std::int64_t of, bool invalid_only) {
  const std::optional<IndexState> index = index_named(left.relation, left.name);
  if (!index || index->attached || OidIsValid(index->constraint)) return std::nullopt;
  // A valid one only when it is known to be what the job has made: by now somebody may have made another of that name.
  if (index->valid && (invalid_only || index->oid != left.object)) return std::nullopt;
  // It was there before, or the statement has never begun: somebody else's.
  const Rows others =
      bookkeep("SELECT 1 FROM dbops.ddl_step WHERE job_id = $1::bigint AND makes = 'index' AND name = $2"
               " AND relation_oid = $3::oid AND (indexes_before IS NULL OR $4::oid = ANY "
               "(indexes_before))",
               {to_text(of), left.name, to_text(left.relation), to_text(index->oid)});
  if (!others.empty()) return std::nullopt;
  if (index->builder != 0) {
    Step step;
    step.relations = {left.relation};
    step.waits_for = "process " + to_text(index->builder) + ", which builds the index";
    return step;
  }
  return drop_index_step(index->oid, left.relation);
}

// What REINDEX CONCURRENTLY has built beside the old one, or the old one when its name is taken.
std::optional<Step> drop_reindexed(const Left& left, std::int64_t of) {
  const Rows found =
      bookkeep("SELECT i.indexrelid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
               " WHERE i.indrelid = $1::oid AND NOT i.indisvalid"
               " AND (c.relname ~ '_ccnew\\d*$' AND i.indexrelid <> ALL (SELECT o::oid FROM dbops.job j, "
               "jsonb_array_elements_text(j.spec -> 'before') o WHERE j.job_id = $2::bigint)"
               "   OR c.relname ~ '_ccold\\d*$' AND i.indexrelid = $3::oid)"
               " AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.relid = i.indrelid"
               "   AND p.pid <> pg_catalog.pg_backend_pid()) LIMIT 1",
               {to_text(left.relation), to_text(of), to_text(left.object)});
  if (found.empty()) return std::nullopt;
  return drop_index_step(static_cast<Oid>(found.integer(0, 0)), left.relation);
}

// An index that is half dropped serves no query any more, and cannot be brought back: the drop is ended.
std::optional<Step> end_drop(const Left& left) {
  const std::optional<IndexState> index = index_state(left.relation);
  if (!index || index->valid) return std::nullopt;
  const Rows table =
      ask_catalog("SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = $1::oid", {to_text(left.relation)});
  if (table.empty()) return std::nullopt;
  return drop_index_step(left.relation, static_cast<Oid>(table.integer(0, 0)));
}

std::optional<Step> next_of(const Left& left, std::int64_t of, bool indexes_only) {
  if (left.makes == "constraint") return indexes_only ? std::nullopt : drop_constraint(left, of);
  if (left.makes == "index") return drop_index(left, of, indexes_only);
  if (left.makes == "reindex") return drop_reindexed(left, of);
  return indexes_only ? std::nullopt : end_drop(left);
}

} // namespace

std::optional<Step> next_of_clean_up(const Job& /*job*/, const Spec& spec) {
  const std::optional<core::JobState> state = read_state(spec.of);
  using core::JobState;
  // Somebody has brought it back: it looks after its leftovers itself.
  if (!state || (*state != JobState::failed && *state != JobState::cancelled && *state != JobState::paused))
    return std::nullopt;
  // A paused job will go on; what serves nothing meanwhile is an INVALID index, which every write has to keep up to
  // date.
  for (const Left& left : what_was_made(spec.of))
    if (std::optional<Step> step = next_of(left, spec.of, *state == JobState::paused)) return step;
  // An index of that name is somebody else's from here on.
  if (*state != JobState::paused)
    bookkeep("UPDATE dbops.ddl_step SET makes = 'nothing' WHERE job_id = $1::bigint AND makes = 'index'",
             {to_text(spec.of)});
  return std::nullopt;
}

void submit_clean_up(const Job& job) {
  if (!is_ddl(job.kind) || job.kind == "clean_up") return;
  const std::string id = to_text(job.id);
  if (bookkeep("SELECT 1 FROM dbops.ddl_step WHERE job_id = $1::bigint AND makes <> 'nothing' LIMIT 1", {id}).empty() ||
      !bookkeep("SELECT 1 FROM dbops.job WHERE kind = 'clean_up' AND state IN ('queued', 'running', 'paused')"
                " AND (spec ->> 'of')::bigint = $1::bigint",
                {id})
           .empty())
    return;
  Spec spec = from_json(job.spec);
  spec.of = job.id;
  spec.windows.clear();
  spec.give_up_after.reset(); // an INVALID index costs every write: it is waited for until it can go
  const Rows made = bookkeep(
      "INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, label, priority, spec,"
      "  rows_total) SELECT 'clean_up', target_oid, target_name, owner_oid, owner_name, 'dbops', 'job ' || job_id,"
      "  priority, $2::jsonb, 1 FROM dbops.job WHERE job_id = $1::bigint RETURNING job_id",
      {id, core::json_text(to_json(spec))});
  const std::string made_id = made.text(0, 0);
  bookkeep("INSERT INTO dbops.job_slice (job_id, slice) VALUES ($1::bigint, 0)", {made_id});
  bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, to_state) VALUES ($1::bigint, 'dbops', 'create', "
           "'queued')",
           {made_id});
  notify_state(made.integer(0, 0), "clean_up", std::nullopt, "queued");
  announce_at_commit();
}

} // namespace dbops::server::ddl
