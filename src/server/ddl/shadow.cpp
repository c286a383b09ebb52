#include "server/ddl/shadow.h"

#include "server/ddl/catalog.h"
#include "server/engine/submit.h"

extern "C" {
#include "utils/elog.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::ddl {

namespace {

// Of the same name, so that t.column in an expression means it; unless the session has a temporary table of that name.
std::string shadow_name(Oid table) {
  const Rows found =
      ask_catalog("SELECT c.relname, pg_catalog.to_regclass(pg_catalog.format('pg_temp.%I', c.relname)) IS "
                  "NOT NULL FROM pg_catalog.pg_class c WHERE c.oid = $1::oid",
                  {to_text(table)});
  if (found.empty()) throw SqlError(ERRCODE_UNDEFINED_TABLE, "relation with OID " + to_text(table) + " does not exist");
  return "pg_temp." + quote_name(found.boolean(0, 1) ? "dbops_shadow" : found.text(0, 0));
}

Tried look(const std::string& shadow) {
  Tried tried;
  const Rows index = ask_catalog("SELECT i.indexrelid, c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c "
                                 "ON c.oid = i.indexrelid WHERE i.indrelid = $1::regclass",
                                 {shadow});
  if (!index.empty()) {
    tried.index_name = index.text(0, 1);
    tried.index_definition = index_definition(static_cast<Oid>(index.integer(0, 0)));
    const Rows keys = ask_catalog(
        "SELECT coalesce(a.attname, '') FROM pg_catalog.pg_index i CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH "
        "ORDINALITY k(number, n) LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number"
        " AND k.number > 0 WHERE i.indexrelid = $1::oid AND k.n <= i.indnkeyatts ORDER BY k.n",
        {index.text(0, 0)});
    for (std::size_t i = 0; i < keys.size(); ++i)
      tried.keys.push_back(keys.text(i, 0));
  }
  const Rows constraint =
      ask_catalog("SELECT conname, pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint"
                  " WHERE conrelid = $1::regclass AND contype <> 'n'",
                  {shadow});
  if (!constraint.empty()) {
    tried.constraint_name = constraint.text(0, 0);
    tried.constraint_definition = constraint.text(0, 1);
  }
  return tried;
}

Tried run(Oid table, const std::function<void(const std::string& shadow)>& define) {
  const std::string shadow = shadow_name(table);
  query("CREATE TEMPORARY TABLE " + shadow + " (LIKE " + qualified_name(table) + ")");
  define(shadow);
  const int nest_level = enter_settings(canonical_text()); // a worker repeats it under other settings
  Tried tried = look(shadow);
  leave_settings(nest_level);
  return tried;
}

} // namespace

Tried try_on_shadow(Oid table, Oid owner, const Settings& settings, const std::vector<StatementOn>& statements) {
  return try_on_shadow(table, [&](const std::string& shadow) {
    // The texts are tried as the job's owner, with no more rights than it has.
    if (owner != GetUserId()) query("ALTER TABLE " + shadow + " OWNER TO " + quote_name(role_name(owner)));
    as_job_owner(owner, settings, [&] {
      for (const StatementOn& statement : statements)
        query(statement.before + shadow + statement.after);
      return true;
    });
  });
}

Tried try_on_shadow(Oid table, const std::function<void(const std::string& shadow)>& define) {
  Tried tried;
  std::optional<SqlError> failure;
  const MemoryContext memory = CurrentMemoryContext;
  const ResourceOwner resources = CurrentResourceOwner;
  const int level = client_min_messages;
  call_pg([] { BeginInternalSubTransaction("dbops shadow"); });
  MemoryContextSwitchTo(memory);
  client_min_messages = ERROR;
  try {
    tried = run(table, define);
  } catch (const SqlError& error) {
    failure = error;
  }
  call_pg([] { RollbackAndReleaseCurrentSubTransaction(); });
  MemoryContextSwitchTo(memory);
  CurrentResourceOwner = resources;
  client_min_messages = level;
  if (failure) throw *failure;
  return tried;
}

} // namespace dbops::server::ddl
