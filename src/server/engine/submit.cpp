#include "server/engine/submit.h"

#include "server/compat.h"
#include "server/engine/shared.h"

extern "C" {
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace dbops::server {

Oid choose_job_owner(Oid target, const std::optional<std::string>& run_as) {
  return call_pg([target, &run_as] {
    const Oid user = GetUserId();
    if (run_as) {
      const Oid role = get_role_oid(run_as->c_str(), false);
      if (!compat::may_become(user, role))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("must be a member of role \"%s\" to run a job as it", run_as->c_str())));
      return role;
    }
    if (!superuser()) return user;
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(target));
    if (!HeapTupleIsValid(tuple))
      ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", target)));
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
  });
}

Settings session_settings() {
  struct Path {
    int count;
    const char** schemas;
  };
  const Path path = call_pg([] {
    List* oids = fetch_search_path(false);
    Path found{0, static_cast<const char**>(palloc(sizeof(char*) * (static_cast<std::size_t>(list_length(oids)) + 1)))};
    ListCell* cell = nullptr;
    foreach (cell, oids)
      if (const char* name = get_namespace_name(lfirst_oid(cell));
          name != nullptr && !isAnyTempNamespace(lfirst_oid(cell)))
        found.schemas[found.count++] = quote_identifier(name);
    return found;
  });
  std::string search_path;
  for (int i = 0; i < path.count; ++i)
    search_path += (i > 0 ? ", " : "") + std::string(path.schemas[i]);
  // Temporary objects come last: in CALL dbops.run() they are the caller's, who may be another role than the job's.
  Settings settings{{"search_path", search_path + (search_path.empty() ? "" : ", ") + "pg_temp"}};
  for (const char* name :
       {"TimeZone", "DateStyle", "IntervalStyle", "extra_float_digits", "bytea_output", "default_text_search_config",
        "standard_conforming_strings", "transform_null_equals", "backslash_quote"})
    settings.emplace_back(name, call_pg([name] { return GetConfigOptionByName(name, nullptr, false); }));
  return settings;
}

void warn(const std::string& warning) {
  call_pg([&warning] { ereport(WARNING, (errmsg("dbops: %s", warning.c_str()))); });
}

void warn_if_nobody_can_run(Oid owner) {
  const bool can_login = call_pg([owner] {
    HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
    if (!HeapTupleIsValid(tuple)) return false;
    const bool login = reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcanlogin;
    ReleaseSysCache(tuple);
    return login;
  });
  if (!can_login && !compat::nologin_workers)
    warn("role \"" + role_name(owner) +
         "\" has no LOGIN: before PostgreSQL 17 no background worker can run the job as it; use CALL dbops.run()");
  if (shared() == nullptr) warn("dbops is not in shared_preload_libraries: the job waits for CALL dbops.run()");
}

} // namespace dbops::server
