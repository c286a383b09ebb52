#include "server/lifecycle/waiting.h"

#include "server/engine/bookkeeping.h"

namespace dbops::server::lifecycle {

WaitingDeletions waiting_deletions() {
  SpiConnection spi;
  // Not dbops.retention_status, which asks the tables how far each rule is behind.
  const Rows found =
      bookkeep("SELECT 'purge of ' || p.target AS name, p.detail, p.remedy FROM dbops.soft_delete_problems p"
               " WHERE p.problem = 'purge waits'"
               " UNION ALL "
               "SELECT 'retention of ' || coalesce(c.oid::regclass::text, r.target_name),"
               "   CASE WHEN s.job_id IS NULL THEN 'rule ' || r.rule_id || ' has no schedule'"
               "        ELSE coalesce(r.doubt, j.last_error, 'its job ' || j.job_id || ' is paused') END,"
               "   CASE WHEN s.job_id IS NULL OR r.doubt IS NOT NULL OR j.last_error IS NOT NULL"
               "        THEN format('SELECT dbops.confirm_retention(%s)', r.rule_id)"
               "        ELSE format('SELECT dbops.resume(%s)', j.job_id) END"
               " FROM dbops.retention_rule r LEFT JOIN pg_class c ON c.oid = r.target"
               " LEFT JOIN dbops.schedule s ON s.job_id = r.schedule_job LEFT JOIN dbops.job j ON j.job_id = r.last_job"
               " WHERE s.job_id IS NULL OR r.doubt IS NOT NULL OR j.state = 'paused'"
               " UNION ALL "
               "SELECT 'job ' || j.job_id || ' on ' || j.target_name, j.last_error,"
               "   format('SELECT dbops.confirm_deletion(%s)', j.job_id) FROM dbops.job j WHERE j.kind = 'batch_delete'"
               " AND j.state = 'paused' AND j.spec ? 'asks'"
               " ORDER BY 1, 2");
  WaitingDeletions result;
  for (std::size_t i = 0; i < found.size(); ++i)
    result.waiting.push_back({found.text(i, 0), found.text(i, 1), found.text(i, 2)});
  result.rules = bookkeep("SELECT (SELECT count(*) FROM dbops.soft_delete_rule) + (SELECT count(*) FROM "
                          "dbops.retention_rule)")
                     .integer(0, 0);
  spi.close();
  return result;
}

} // namespace dbops::server::lifecycle
