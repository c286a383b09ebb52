#include "server/lint/column_move.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "server/lint/stepwise.h"

namespace dbops::server::lint {

namespace {

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::string alter(const Table& table) {
  return "ALTER TABLE " + table.name + " ";
}

// What would have to be written anew, or is not for the linter to take apart: CHECK and exclusion, its own foreign
// keys and those of its table on it, views and their like; keys of tables with partitions, parents or children.
bool is_bound(const Table& table, const std::string& column) {
  return !Catalog::dependents_of_column(table.oid, column).empty() ||
         !ask_catalog("SELECT FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid WHERE a.attrelid = $1::oid AND "
                      "a.attname = $2::text::name AND (a.attgenerated <> '' OR EXISTS (SELECT FROM pg_constraint c"
                      " WHERE c.conrelid = a.attrelid AND c.contype IN ('c', 'x', 'f') AND a.attnum = ANY (c.conkey))"
                      " OR EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = a.attrelid AND c.confrelid = "
                      "a.attrelid AND c.contype = 'f' AND a.attnum = ANY (c.confkey)))",
                      {to_text(table.oid), column})
              .empty();
}

bool has_relatives(const Table& table) {
  return table.kind != 'r' ||
         !ask_catalog("SELECT FROM pg_inherits WHERE inhrelid = $1::oid OR inhparent = $1::oid", {to_text(table.oid)})
              .empty();
}

std::string build_index(const Table& table, const std::string& index, const std::string& columns) {
  return "CREATE UNIQUE INDEX CONCURRENTLY " + index + " ON " + table.name + " (" + columns + ");\n";
}

std::string exchange_key(const Table& table, const std::string& name, const std::string& kind, const std::string& index,
                         const std::string& deferral) {
  return alter(table) + "DROP CONSTRAINT " + name + ";\n" + alter(table) + "ADD CONSTRAINT " + name + kind +
         " USING INDEX " + index + deferral + ";\n";
}

// One that has more than columns (INCLUDE, NULLS NOT DISTINCT, WITHOUT OVERLAPS, storage parameters, the replica
// identity) is left to people.
void move_keys(const Table& table, const std::string& column, const std::string& made, ColumnMove& move) {
  const Rows keys = ask_catalog(
      "SELECT c.conname, c.contype, CASE WHEN c.condeferred THEN ' DEFERRABLE INITIALLY DEFERRED' WHEN c.condeferrable "
      "THEN ' DEFERRABLE' ELSE '' END,"
      " (SELECT string_agg(quote_ident(CASE WHEN k.number = a.attnum THEN $3::text ELSE b.attname::text END), ', ' "
      "ORDER "
      "BY k.n) FROM unnest(c.conkey) WITH ORDINALITY k(number, n) JOIN pg_attribute b ON b.attrelid = c.conrelid AND "
      "b.attnum = k.number),"
      " i.indnatts = i.indnkeyatts AND NOT i.indnullsnotdistinct AND NOT i.indisreplident AND x.reloptions IS NULL AND "
      "m.amname = 'btree'"
      " FROM pg_attribute a JOIN pg_constraint c ON c.conrelid = a.attrelid AND c.contype IN ('p', 'u') AND a.attnum = "
      "ANY (c.conkey) JOIN pg_index i ON i.indexrelid = c.conindid JOIN pg_class x ON x.oid = c.conindid JOIN pg_am m "
      "ON "
      "m.oid = x.relam WHERE a.attrelid = $1::oid AND a.attname = $2::text::name ORDER BY c.contype, c.conname",
      {to_text(table.oid), column, made});
  if (!keys.empty() && has_relatives(table)) move.possible = false;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!keys.boolean(i, 4)) move.possible = false;
    const std::string name = quote_name(keys.text(i, 0));
    const std::string index = quote_name(keys.text(i, 0) + "_new");
    move.build += build_index(table, index, keys.text(i, 3));
    move.take += exchange_key(table, name, keys.text(i, 1) == "p" ? " PRIMARY KEY" : " UNIQUE", index, keys.text(i, 2));
  }
}

// Those that are no keys. One that has the column in an expression or its condition, or not as its type has it by
// default, is left to people.
void move_indexes(const Table& table, const std::string& column, const std::string& made, ColumnMove& move) {
  const Rows indexes = ask_catalog(
      "SELECT x.relname, quote_ident(n.nspname), i.indisunique, quote_ident(m.amname), parts.keys, parts.included,"
      " i.indnullsnotdistinct, array_to_string(x.reloptions, ', '), quote_ident(s.spcname), i.indexprs IS NULL AND"
      " i.indpred IS NULL AND NOT i.indisreplident AND NOT i.indisclustered AND t.relkind = 'r' AND NOT "
      "x.relispartition"
      " AND parts.plain, regexp_replace(i.indexrelid::regclass::text, '[\\r\\n]', ' ', 'g')"
      " FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid JOIN pg_index i ON i.indrelid = a.attrelid AND "
      "i.indisvalid JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace JOIN pg_am m "
      "ON m.oid = x.relam LEFT JOIN pg_tablespace s ON s.oid = x.reltablespace, LATERAL (SELECT"
      "   string_agg(part, ', ' ORDER BY k) FILTER (WHERE k <= i.indnkeyatts) AS keys,"
      "   string_agg(name, ', ' ORDER BY k) FILTER (WHERE k > i.indnkeyatts) AS included, bool_and(plain) AS plain"
      "   FROM (SELECT k, name, name || CASE WHEN collated THEN ' COLLATE ' || coll::regcollation ELSE '' END ||"
      "     CASE WHEN o.opcdefault THEN '' ELSE ' ' || quote_ident(q.nspname) || '.' || quote_ident(o.opcname) END ||"
      "     CASE option WHEN 1 THEN ' DESC NULLS LAST' WHEN 2 THEN ' NULLS FIRST' WHEN 3 THEN ' DESC' ELSE '' END AS "
      "part,"
      "     p.attoptions IS NULL AND (number <> a.attnum OR o.oid IS NULL OR o.opcdefault AND NOT collated) AS plain"
      "     FROM (SELECT u.*, quote_ident(CASE WHEN u.number = a.attnum THEN $3::text ELSE b.attname::text END) AS "
      "name,"
      "       u.coll <> 0 AND u.coll <> b.attcollation AS collated"
      "       FROM unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[], i.indoption::int2[]) WITH "
      "ORDINALITY u(number, class, coll, option, k) LEFT JOIN pg_attribute b ON b.attrelid = i.indrelid AND "
      "b.attnum = u.number) u LEFT JOIN pg_opclass o ON o.oid = u.class LEFT JOIN pg_namespace q ON q.oid = "
      "o.opcnamespace JOIN pg_attribute p ON p.attrelid = i.indexrelid AND p.attnum = u.k) part) parts"
      " WHERE a.attrelid = $1::oid AND a.attname = $2::text::name AND NOT EXISTS (SELECT FROM pg_constraint c WHERE "
      "c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')) AND EXISTS (SELECT FROM pg_depend d WHERE d.classid "
      "= 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = "
      "a.attrelid AND d.refobjsubid = a.attnum) ORDER BY x.relname",
      {to_text(table.oid), column, made});
  for (std::size_t i = 0; i < indexes.size(); ++i) {
    if (!indexes.boolean(i, 9)) {
      move.left_out +=
          "-- build one like the index " + indexes.text(i, 10) + " by hand, and drop that in the exchange\n";
      continue;
    }
    const std::string name = quote_name(indexes.text(i, 0));
    const std::string index = quote_name(indexes.text(i, 0) + "_new");
    const auto unless_null = [&](std::size_t field, const std::string& before, const std::string& after) {
      return indexes.is_null(i, field) ? std::string() : before + indexes.text(i, field) + after;
    };
    move.build += std::string("CREATE ") + (indexes.boolean(i, 2) ? "UNIQUE " : "") + "INDEX CONCURRENTLY " + index +
                  " ON " + table.name + " USING " + indexes.text(i, 3) + " (" + indexes.text(i, 4) + ")" +
                  unless_null(5, " INCLUDE (", ")") + (indexes.boolean(i, 6) ? " NULLS NOT DISTINCT" : "") +
                  unless_null(7, " WITH (", ")") + unless_null(8, " TABLESPACE ", "") + ";\n";
    const std::string schema = indexes.text(i, 1) + ".";
    move.take += "DROP INDEX " + schema + name + ";\nALTER INDEX " + schema + index + " RENAME TO " + name + ";\n";
  }
}

// Integers of all lengths can refer to one another.
void move_references(const Table& table, const std::string& column, const std::string& type, ColumnMove& move) {
  const Rows keys = ask_catalog(
      "SELECT c.conrelid::regclass::text, quote_ident(c.conname), pg_get_constraintdef(c.oid), c.convalidated, "
      "t.relkind "
      "= 'r' AND c.conparentid = 0 AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = t.oid OR h.inhparent = "
      "t.oid)"
      " FROM pg_attribute a JOIN pg_constraint c ON c.confrelid = a.attrelid AND c.contype = 'f' AND a.attnum = ANY "
      "(c.confkey) JOIN pg_class t ON t.oid = c.conrelid"
      " WHERE a.attrelid = $1::oid AND a.attname = $2::text::name AND c.conrelid <> c.confrelid ORDER BY 1, 2",
      {to_text(table.oid), column});
  if (!keys.empty() && !is_integer(type)) move.possible = false;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!keys.boolean(i, 4)) move.possible = false;
    const std::string other = "ALTER TABLE " + keys.text(i, 0) + " ";
    const bool valid = keys.boolean(i, 3);
    move.leave += other + "DROP CONSTRAINT " + keys.text(i, 1) + ";\n";
    move.come +=
        other + "ADD CONSTRAINT " + keys.text(i, 1) + " " + keys.text(i, 2) + (valid ? " NOT VALID" : "") + ";\n";
    if (valid) move.validate += other + "VALIDATE CONSTRAINT " + keys.text(i, 1) + ";\n";
  }
}

// The new one goes on where the old one is, with its steps; bounds of its own are left to people.
void move_identity(const Table& table, const std::string& column, const std::string& made, const std::string& type,
                   ColumnMove& move) {
  const Rows found = ask_catalog(
      "SELECT CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.seqrelid::regclass::text, s.seqstart, "
      "s.seqincrement, s.seqcache, s.seqcycle, s.seqincrement > 0 AND s.seqmin = 1 AND s.seqmax = CASE s.seqtypid WHEN "
      "'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END"
      " FROM pg_attribute a JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = "
      "'pg_class'::regclass "
      "AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'i' JOIN pg_sequence s ON s.seqrelid = "
      "d.objid WHERE a.attrelid = $1::oid AND a.attname = $2::text::name AND a.attidentity <> ''",
      {to_text(table.oid), column});
  if (found.empty()) return;
  if (!is_integer(type) || !found.boolean(0, 6)) move.possible = false;
  move.take += alter(table) + "ALTER COLUMN " + quote_name(made) + " ADD GENERATED " + found.text(0, 0) +
               " AS IDENTITY (START WITH " + found.text(0, 2) + " INCREMENT BY " + found.text(0, 3) + " CACHE " +
               found.text(0, 4) + (found.boolean(0, 5) ? " CYCLE" : "") + ");\nSELECT setval(pg_get_serial_sequence(" +
               quote_text(table.name) + ", " + quote_text(made) + "), last_value, is_called) FROM " + found.text(0, 1) +
               ";\n" + alter(table) + "ALTER COLUMN " + quote_name(column) + " DROP IDENTITY;\n";
}

} // namespace

bool is_bigint(const std::string& type) {
  const std::string name = lower_case(type);
  return name == "bigint" || name == "int8";
}

bool is_integer(const std::string& type) {
  static constexpr std::array<std::string_view, 5> others{"smallint", "int2", "integer", "int", "int4"};
  return is_bigint(type) || std::find(others.begin(), others.end(), lower_case(type)) != others.end();
}

ColumnMove move_column(const Table& table, const std::string& column, const std::string& made,
                       const std::string& type) {
  ColumnMove move;
  move.possible = !is_bound(table, column);
  if (!move.possible) return move;
  move_identity(table, column, made, type, move);
  move_keys(table, column, made, move);
  move_indexes(table, column, made, move);
  move_references(table, column, type, move);
  return move;
}

} // namespace dbops::server::lint
