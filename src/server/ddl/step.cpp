#include "server/ddl/step.h"

#include "server/ddl/catalog.h"

namespace dbops::server::ddl {

const char* to_string(Lock lock) {
  switch (lock) {
  case Lock::access_exclusive:
    return "ACCESS EXCLUSIVE";
  case Lock::share_row_exclusive:
    return "SHARE ROW EXCLUSIVE";
  case Lock::share:
    return "SHARE";
  case Lock::share_update_exclusive:
    break;
  }
  return "SHARE UPDATE EXCLUSIVE";
}

const char* to_string(Makes makes) {
  switch (makes) {
  case Makes::index:
    return "index";
  case Makes::constraint:
    return "constraint";
  case Makes::reindex:
    return "reindex";
  case Makes::drop:
    return "drop";
  case Makes::nothing:
    break;
  }
  return "nothing";
}

std::optional<Step> next_step(const Job& job, const Spec& spec) {
  if (job.kind == "clean_up") return next_of_clean_up(job, spec);
  if (job.kind == "drop_index") return next_of_drop(job, spec);
  if (job.kind == "reindex") return next_of_reindex(job, spec);
  if (!exists(job.target))
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "table " + job.target_name + " does not exist any more");
  if (job.kind == "create_index" || job.kind == "add_unique") return next_of_index(job, spec);
  if (job.kind == "attach_partition") return next_of_attach(job, spec);
  return next_of_constraint(job, spec);
}

} // namespace dbops::server::ddl
