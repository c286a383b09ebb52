#include "server/trace/clones.h"

#include <algorithm>

#include "server/compat.h"
#include "server/ddl/catalog.h"

extern "C" {
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::trace {

namespace {

bool is_plain(Oid table) {
  return !ask_catalog(
              "SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid = $1::oid AND c.relkind = 'r' AND c.relpersistence "
              "<> 't' AND c.reloftype = 0 AND NOT c.relispartition AND NOT EXISTS (SELECT FROM "
              "pg_catalog.pg_inherits WHERE inhrelid = c.oid OR inhparent = c.oid)",
              {to_text(table)})
              .empty();
}

// Copying plans the expressions of indexes, defaults, constraints and statistics, which calls what is IMMUTABLE in
// them: as the caller, who has not asked for code of others. A superuser's he trusts, with what he is allowed to call.
bool calls_code_of_others(Oid table) {
  return !ask_catalog(
              "WITH parts(class, part) AS (SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid = "
              "$1::oid UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = $1::oid UNION ALL "
              "SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = $1::oid UNION ALL SELECT "
              "'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxrelid = $1::oid), owners(owner) AS ("
              "SELECT coalesce(f.proowner, o.oprowner, t.typowner) FROM parts p JOIN pg_depend d ON d.classid = "
              "p.class "
              "AND d.objid = p.part "
              "LEFT JOIN pg_proc f ON d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid "
              "LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid "
              "LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid AND t.typtype <> 'e') "
              "SELECT 1 FROM owners JOIN pg_roles r ON r.oid = owner WHERE NOT r.rolsuper AND owner <> $2::oid LIMIT 1",
              {to_text(table), to_text(GetUserId())})
              .empty();
}

std::string name_of(Oid relation) {
  const char* name = call_pg([relation] { return get_rel_name(relation); });
  if (name == nullptr)
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "relation with OID " + to_text(relation) + " does not exist");
  return name;
}

Oid temporary(const std::string& name) {
  return static_cast<Oid>(
      ask_catalog("SELECT pg_catalog.to_regclass($1)::oid", {"pg_temp." + quote_name(name)}).integer(0, 0));
}

// As the server writes a list of names.
std::string columns_of(Oid constraint, const char* which) {
  return ask_catalog(std::string("SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.n) FROM "
                                 "pg_catalog.pg_constraint c CROSS JOIN LATERAL pg_catalog.unnest(c.") +
                         which + "key) WITH ORDINALITY k(number, n) JOIN pg_catalog.pg_attribute a ON a.attrelid = c." +
                         which + "relid AND a.attnum = k.number WHERE c.oid = $1::oid",
                     {to_text(constraint)})
      .text(0, 0);
}

} // namespace

bool Clones::has(Oid table) const {
  return std::any_of(pairs_.begin(), pairs_.end(), [table](const Pair& pair) { return pair.original == table; });
}

void Clones::name_indexes(Oid table, Oid clone) {
  const std::string list =
      "SELECT i.indexrelid, c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid "
      "= i.indexrelid WHERE i.indrelid = $1::oid ORDER BY i.indisprimary DESC, i.indisunique DESC, 1";
  const Rows originals = ask_catalog(list, {to_text(table)});
  const Rows copies = ask_catalog(list, {to_text(clone)});
  std::vector<Pair> found;
  std::vector<bool> taken(copies.size(), false);
  for (std::size_t o = 0; o < originals.size(); ++o) {
    const auto original = static_cast<Oid>(originals.integer(o, 0));
    for (std::size_t c = 0; c < copies.size(); ++c) {
      const auto copy = static_cast<Oid>(copies.integer(c, 0));
      if (taken[c] || ddl::index_definition(copy) != ddl::index_definition(original)) continue;
      taken[c] = true;
      found.push_back({original, copy});
      break;
    }
  }
  // In two rounds, as one may have another's name.
  for (const Pair& pair : found)
    query("ALTER INDEX pg_temp." + quote_name(name_of(pair.clone)) + " RENAME TO dbops_trace_" + to_text(pair.clone));
  for (const Pair& pair : found)
    query("ALTER INDEX pg_temp.dbops_trace_" + to_text(pair.clone) + " RENAME TO " +
          quote_name(name_of(pair.original)));
  pairs_.insert(pairs_.end(), found.begin(), found.end());
}

Oid Clones::copy(Oid table) {
  const std::string name = name_of(table);
  if (!is_plain(table) || calls_code_of_others(table) || OidIsValid(temporary(name))) return InvalidOid;
  query("CREATE TEMPORARY TABLE pg_temp." + quote_name(name) + " (LIKE " + qualified_name(table) + " INCLUDING ALL)");
  const Oid clone = temporary(name);
  pairs_.push_back({table, clone});
  const Rows open =
      ask_catalog("SELECT conname, pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint WHERE "
                  "conrelid = $1::oid AND contype = 'c' AND NOT convalidated",
                  {to_text(table)});
  for (std::size_t i = 0; i < open.size(); ++i)
    query("ALTER TABLE pg_temp." + quote_name(name) + " DROP CONSTRAINT " + quote_name(open.text(i, 0)) +
          ", ADD CONSTRAINT " + quote_name(open.text(i, 0)) + " " + open.text(i, 1));
  name_indexes(table, clone);
  return clone;
}

void Clones::add_foreign_keys(Oid table) {
  const Rows keys = ask_catalog("SELECT oid, conname, conrelid, confrelid, convalidated FROM pg_catalog.pg_constraint "
                                "WHERE contype = 'f' AND (conrelid = $1::oid OR confrelid = $1::oid)",
                                {to_text(table)});
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto key = static_cast<Oid>(keys.integer(i, 0));
    const auto child = static_cast<Oid>(keys.integer(i, 2));
    const auto parent = static_cast<Oid>(keys.integer(i, 3));
    if (!has(child) || !has(parent) || std::find(keys_.begin(), keys_.end(), key) != keys_.end()) continue;
    keys_.push_back(key);
    query("ALTER TABLE pg_temp." + quote_name(name_of(child)) + " ADD CONSTRAINT " + quote_name(keys.text(i, 1)) +
          " FOREIGN KEY (" + columns_of(key, "con") + ") REFERENCES pg_temp." + quote_name(name_of(parent)) + " (" +
          columns_of(key, "conf") + ")" + (keys.boolean(i, 4) ? "" : " NOT VALID"));
  }
}

bool Clones::add(Oid table) {
  Settings pinned = canonical_text(); // under which definitions are read and repeated
  pinned.emplace_back("search_path", "pg_catalog, pg_temp");
  const int nest_level = enter_settings(pinned);
  const bool added = add_family(table);
  leave_settings(nest_level);
  return added;
}

bool Clones::add_family(Oid table) {
  if (!has(table) && !OidIsValid(copy(table))) return false;
  const Rows neighbours =
      ask_catalog("SELECT DISTINCT CASE conrelid WHEN $1::oid THEN confrelid ELSE conrelid END FROM "
                  "pg_catalog.pg_constraint WHERE contype = 'f' AND (conrelid = $1::oid OR confrelid "
                  "= $1::oid)",
                  {to_text(table)});
  for (std::size_t i = 0; i < neighbours.size(); ++i) {
    const auto other = static_cast<Oid>(neighbours.integer(i, 0));
    if (!has(other) && !OidIsValid(copy(other))) return false;
  }
  add_foreign_keys(table);
  return true;
}

void Clones::release_locks() const {
  for (const Pair& pair : pairs_)
    call_pg([&pair] {
      LOCKTAG tag;
      SET_LOCKTAG_RELATION(tag, MyDatabaseId, pair.clone);
      for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; ++mode)
        for (int times = 0; times < 1000 && compat::holds_lock(tag, mode); ++times)
          if (!LockRelease(&tag, mode, false)) break;
    });
}

} // namespace dbops::server::trace
