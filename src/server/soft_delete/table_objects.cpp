#include "server/soft_delete/table_objects.h"

#include "server/soft_delete/change.h"

namespace dbops::server::soft_delete {

void add_columns(const Rule& rule) {
  const Rows there =
      bookkeep("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::oid"
               " AND attname IN ('deleted_at', 'deleted_by', 'deletion_id') AND NOT attisdropped",
               {to_text(rule.table)});
  std::string missing;
  for (const auto& [name, type] : {std::pair<std::string, std::string>{"deleted_at", "timestamp with time zone"},
                                   {"deleted_by", "text"},
                                   {"deletion_id", "bigint"}}) {
    bool found = false;
    for (std::size_t i = 0; i < there.size(); ++i) {
      if (there.text(i, 0) != name) continue;
      found = true;
      if (there.text(i, 1) != type)
        throw SqlError(ERRCODE_DUPLICATE_COLUMN,
                       "column " + name + " of " + label(rule.table) + " is there already, of type " + there.text(i, 1),
                       "It has to be " + type + ". Rename it, or use mode => 'tombstone'.");
    }
    if (!found) missing += (missing.empty() ? " ADD COLUMN " : ", ADD COLUMN ") + name + " " + type;
  }
  if (!missing.empty()) change("ALTER TABLE " + rule.name + missing);
}

void refuse_truncate(const Rule& rule) {
  const Rows family = bookkeep("SELECT format('%I.%I', n.nspname, c.relname) FROM dbops.family($1::oid) f"
                               " JOIN pg_class c ON c.oid = f JOIN pg_namespace n ON n.oid = c.relnamespace"
                               " WHERE c.relkind IN ('r', 'p')",
                               {to_text(rule.table)});
  for (std::size_t i = 0; i < family.size(); ++i)
    make_trigger(family.text(i, 0), "dbops_soft_delete_truncate",
                 "BEFORE TRUNCATE ON " + family.text(i, 0) +
                     " FOR EACH STATEMENT EXECUTE FUNCTION dbops.refuse_truncate()");
}

namespace {

// By what it calls: a copy of the database has other numbers in its triggers' names.
void drop_guard(const ForeignKey& key) {
  const Rows guards = bookkeep("SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = $1::oid AND tgparentid = 0"
                               " AND tgfoid = 'dbops.refuse_dead_parent()'::regprocedure"
                               " AND tgargs = convert_to($2, getdatabaseencoding()) || '\\x00'::bytea",
                               {to_text(key.child), key.name});
  for (std::size_t i = 0; i < guards.size(); ++i)
    change("DROP TRIGGER " + guards.text(i, 0) + " ON " + key.child_name);
}

void guard_foreign_key(const ForeignKey& key) {
  const Rows privilege = run("SELECT has_table_privilege($1::oid, 'TRIGGER')", {to_text(key.child)});
  if (!privilege.boolean(0, 0))
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                   "table " + label(key.child) + " refers to " + label(key.parent) +
                       ", and you may not make triggers on it",
                   "A trigger has to keep its rows from referring to deleted ones.");
  const std::optional<Rule> child = find_rule(key.child);
  const bool marked = child && child->mode == Mode::column;
  std::string columns;
  for (const KeyColumn& column : key.child_columns)
    columns += (columns.empty() ? "" : ", ") + column.name;
  drop_guard(key);
  make_trigger(key.child_name, "dbops_live_parent_" + to_text(key.oid),
               "AFTER INSERT OR UPDATE OF " + columns + (marked ? ", deleted_at" : "") + " ON " + key.child_name +
                   " FOR EACH ROW" + (marked ? " WHEN (NEW.deleted_at IS NULL)" : "") +
                   " EXECUTE FUNCTION dbops.refuse_dead_parent(" + quote_text(key.name) + ")");
}

} // namespace

void guard_foreign_keys(const Rule& rule) {
  for (const ForeignKey& key : foreign_keys_to(rule.table))
    guard_foreign_key(key);
  for (const ForeignKey& key : foreign_keys_from(rule.table)) {
    const std::optional<Rule> parent = find_rule(key.parent);
    if (parent && parent->mode == Mode::column && parent->table != rule.table) guard_foreign_key(key);
  }
}

void guard_foreign_keys_of_child(const Rule& rule) {
  for (const ForeignKey& key : foreign_keys_from(rule.table)) {
    const std::optional<Rule> parent = find_rule(key.parent);
    if (parent && parent->mode == Mode::column) guard_foreign_key(key);
  }
}

void make_column_triggers(const Rule& rule) {
  make_trigger(rule.name, "dbops_soft_delete_insert",
               "BEFORE INSERT ON " + rule.name +
                   " FOR EACH ROW WHEN (NEW.deleted_at IS NOT NULL OR NEW.deletion_id IS NOT NULL)"
                   " EXECUTE FUNCTION dbops.guard_soft_delete_columns()");
  make_trigger(
      rule.name, "dbops_soft_delete_update",
      "BEFORE UPDATE ON " + rule.name +
          " FOR EACH ROW WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at OR OLD.deleted_by IS DISTINCT FROM"
          " NEW.deleted_by OR OLD.deletion_id IS DISTINCT FROM NEW.deletion_id)"
          " EXECUTE FUNCTION dbops.guard_soft_delete_columns()");
}

namespace {

std::string live_name(const Rule& rule) {
  return rule.schema + "." +
         quote_name(
             bookkeep("SELECT left(relname, 58) || '_live' FROM pg_class WHERE oid = $1::oid", {to_text(rule.table)})
                 .text(0, 0));
}

} // namespace

std::optional<std::string> view_of(const Rule& rule) {
  const Rows known =
      bookkeep("SELECT format('%I.%I', n.nspname, c.relname) FROM dbops.soft_delete_rule r JOIN pg_class c"
               " ON c.oid = r.live_view JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.target = $1::oid",
               {to_text(rule.table)});
  if (known.empty()) return std::nullopt;
  return known.text(0, 0);
}

void make_live_view(const Rule& rule) {
  const std::string view = view_of(rule).value_or(live_name(rule));
  const Rows columns =
      bookkeep("SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid"
               " = $1::oid AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('deleted_at',"
               " 'deleted_by', 'deletion_id')",
               {to_text(rule.table)});
  change("CREATE OR REPLACE VIEW " + view + " WITH (security_invoker = true) AS SELECT " + columns.text(0, 0) +
         " FROM " + rule.name + " WHERE deleted_at IS NULL");
  if (GetUserId() != rule.owner) change("ALTER VIEW " + view + " OWNER TO " + quote_name(role_name(rule.owner)));
  make_trigger(view, "dbops_delete_live",
               "INSTEAD OF DELETE ON " + view + " FOR EACH ROW EXECUTE FUNCTION dbops.delete_live()");
  const Rows grants = bookkeep(
      "SELECT DISTINCT format('GRANT %s ON %s TO %s', a.privilege_type, $2, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE"
      " quote_ident(r.rolname) END) FROM pg_class c, aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
      " WHERE c.oid = $1::oid AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') AND a.grantee <> "
      "c.relowner",
      {to_text(rule.table), view});
  for (std::size_t i = 0; i < grants.size(); ++i)
    change(grants.text(i, 0));
  change("COMMENT ON VIEW " + view + " IS " +
         quote_text("Rows of " + label(rule.table) + " that are not deleted (dbops)"));
  bookkeep("UPDATE dbops.soft_delete_rule SET live_view = $2::regclass WHERE target = $1::oid",
           {to_text(rule.table), view});
}

void make_tombstone_trigger(const Rule& rule) {
  make_trigger(rule.name, "dbops_soft_delete_row",
               "AFTER DELETE ON " + rule.name + " FOR EACH ROW EXECUTE FUNCTION dbops.keep_tombstone()");
}

void drop_triggers(const Rule& rule) {
  const Rows triggers = bookkeep(
      "SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname) FROM pg_trigger t"
      " JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
      " WHERE t.tgparentid = 0 AND t.tgrelid IN (SELECT f FROM dbops.family($1::oid) f)"
      " AND t.tgfoid IN ('dbops.guard_soft_delete_columns()'::regprocedure, 'dbops.refuse_truncate()'::regprocedure,"
      " 'dbops.keep_tombstone()'::regprocedure)",
      {to_text(rule.table)});
  for (std::size_t i = 0; i < triggers.size(); ++i)
    change(triggers.text(i, 0));
  for (const ForeignKey& key : foreign_keys_to(rule.table))
    drop_guard(key);
  for (const ForeignKey& key : foreign_keys_from(rule.table))
    drop_guard(key);
}

} // namespace dbops::server::soft_delete
