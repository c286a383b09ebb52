#include "server/ddl/catalog.h"

#include "server/compat.h"

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::ddl {

namespace {

// Columns: oid, indisvalid, indisunique, pid that builds it, attached, constraint.
const char* const index_columns =
    "i.indexrelid, i.indisvalid, i.indisunique,"
    " coalesce((SELECT p.pid FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid"
    "   AND p.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    "   AND p.pid <> pg_catalog.pg_backend_pid() LIMIT 1), 0),"
    " EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = i.indexrelid),"
    " coalesce((SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', "
    "'u', "
    "'x') LIMIT 1), 0)";

std::optional<IndexState> read_index(const Rows& found) {
  if (found.empty()) return std::nullopt;
  return IndexState{static_cast<Oid>(found.integer(0, 0)),
                    found.boolean(0, 1),
                    found.boolean(0, 2),
                    found.integer(0, 3),
                    found.boolean(0, 4),
                    static_cast<Oid>(found.integer(0, 5))};
}

} // namespace

// As the extension's owner: who is not a member of the builder's role does not see what it builds.
std::optional<IndexState> index_named(Oid table, const std::string& name) {
  return read_index(bookkeep(std::string("SELECT ") + index_columns +
                                 " FROM pg_catalog.pg_class t JOIN pg_catalog.pg_class c ON c.relnamespace = "
                                 "t.relnamespace AND c.relname = $2::name"
                                 " JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid AND i.indrelid = t.oid"
                                 " WHERE t.oid = $1::oid",
                             {to_text(table), name}));
}

std::optional<IndexState> index_state(Oid index) {
  return read_index(
      bookkeep(std::string("SELECT ") + index_columns + " FROM pg_catalog.pg_index i WHERE i.indexrelid = $1::oid",
               {to_text(index)}));
}

std::optional<ConstraintState> constraint_named(Oid table, const std::string& name) {
  const Rows found = ask_catalog(
      "SELECT oid, convalidated FROM pg_catalog.pg_constraint WHERE conrelid = $1::oid AND conname = $2::name",
      {to_text(table), name});
  if (found.empty()) return std::nullopt;
  return ConstraintState{static_cast<Oid>(found.integer(0, 0)), found.boolean(0, 1)};
}

std::vector<Oid> leaves(Oid table) {
  return oid_list(ask_catalog("WITH RECURSIVE family(relid) AS (SELECT $1::oid UNION"
                              " SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f ON i.inhparent = f.relid)"
                              " SELECT c.oid FROM family JOIN pg_catalog.pg_class c ON c.oid = relid"
                              " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm')"
                              " ORDER BY n.nspname, c.relname",
                              {to_text(table)}));
}

std::vector<Oid> family(Oid table) {
  return oid_list(ask_catalog("WITH RECURSIVE family(relid) AS (SELECT $1::oid UNION"
                              " SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f ON i.inhparent = f.relid)"
                              " SELECT relid FROM family",
                              {to_text(table)}));
}

bool is_partitioned(Oid table) {
  return call_pg([table] { return get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE; });
}

bool exists(Oid relation) {
  return call_pg([relation] { return get_rel_relkind(relation) != '\0'; });
}

std::string schema_of(Oid relation) {
  return quote_name(ask_catalog("SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
                                "c.relnamespace WHERE c.oid = $1::oid",
                                {to_text(relation)})
                        .text(0, 0));
}

std::string free_relation_name(Oid table, const std::string& wanted) {
  for (int number = 0;; ++number) {
    const std::string suffix = number == 0 ? "" : std::to_string(number);
    // Cut between characters, as PostgreSQL cuts a name.
    const auto room = static_cast<int>(NAMEDATALEN - 1 - suffix.size());
    const int length =
        call_pg([&wanted, room] { return pg_mbcliplen(wanted.data(), static_cast<int>(wanted.size()), room); });
    const std::string name = wanted.substr(0, static_cast<std::size_t>(length)) + suffix;
    if (ask_catalog("SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class t ON t.relnamespace = c.relnamespace"
                    " WHERE t.oid = $1::oid AND c.relname = $2::name",
                    {to_text(table), name})
            .empty())
      return name;
  }
}

std::string index_definition(Oid index) {
  // The same beginning is written by ruleutils.c, pg_get_indexdef_worker; what does not begin so is a change of
  // PostgreSQL that has to be looked at.
  const Rows found = ask_catalog(
      "SELECT pg_catalog.pg_get_indexdef(i.indexrelid), pg_catalog.format('CREATE %sINDEX %I ON ',"
      "  CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, c.relname), pg_catalog.format('%I.%I', n.nspname, "
      "t.relname)"
      " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
      " JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace"
      " WHERE i.indexrelid = $1::oid",
      {to_text(index)});
  if (found.empty()) return {};
  const std::string text = found.text(0, 0);
  for (const char* only : {"", "ONLY "}) {
    const std::string start = found.text(0, 1) + only + found.text(0, 2);
    if (text.starts_with(start + " USING ")) return text.substr(start.size());
  }
  // A temporary table's schema is written as pg_temp_3 by some versions and as pg_temp by others.
  if (const std::size_t at = text.find(" USING ", found.text(0, 1).size()); at != std::string::npos)
    return text.substr(at);
  throw SqlError(ERRCODE_INTERNAL_ERROR, "dbops cannot read the definition: " + text);
}

std::string oid_array(const std::vector<Oid>& oids) {
  std::string text = "{";
  for (const Oid oid : oids)
    text += (text.size() > 1 ? "," : "") + to_text(oid);
  return text + "}";
}

std::vector<Oid> oid_list(const Rows& rows) {
  std::vector<Oid> oids;
  for (std::size_t i = 0; i < rows.size(); ++i)
    oids.push_back(static_cast<Oid>(rows.integer(i, 0)));
  return oids;
}

Step drop_index_step(Oid index, Oid table) {
  Step step;
  step.statements = {"DROP INDEX CONCURRENTLY " + qualified_name(index)};
  step.top_level = true;
  step.lock = Lock::share_update_exclusive;
  step.relations = {table};
  return step;
}

} // namespace dbops::server::ddl
