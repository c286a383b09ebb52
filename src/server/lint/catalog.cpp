#include "server/lint/catalog.h"

#include "server/compat.h"

extern "C" {
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_node.h"
#include "parser/parse_type.h"
#include "parser/parse_utilcmd.h"
#include "parser/parser.h"
#include "partitioning/partbounds.h"
#include "tcop/dest.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
}

namespace dbops::server::lint {

namespace {

std::vector<std::string> texts(const std::string& sql, const std::vector<Value>& parameters) {
  const Rows rows = ask_catalog(sql, parameters);
  std::vector<std::string> result;
  for (std::size_t i = 0; i < rows.size(); ++i)
    result.push_back(rows.text(i, 0));
  return result;
}

bool any(const std::string& sql, const std::vector<Value>& parameters) {
  return !ask_catalog(sql, parameters).empty();
}

std::string written_name(const RangeVar* name) {
  return name->schemaname == nullptr ? quote_name(name->relname)
                                     : quote_name(name->schemaname) + "." + quote_name(name->relname);
}

struct Found {
  Oid oid;
  char kind;
};

} // namespace

const Table& Catalog::table(const RangeVar* name) {
  const std::string key =
      (name->schemaname == nullptr ? std::string() : std::string(name->schemaname) + ".") + name->relname;
  if (const auto found = known_.find(key); found != known_.end()) return found->second;
  Table table;
  table.name = written_name(name);
  const Found found = call_pg([name] {
    const Oid oid = RangeVarGetRelid(name, NoLock, true);
    return Found{oid, OidIsValid(oid) ? get_rel_relkind(oid) : '\0'};
  });
  if (OidIsValid(found.oid)) {
    table.oid = found.oid;
    table.kind = found.kind;
    table.name = qualified_name(found.oid);
    table.bytes = ask_catalog("SELECT coalesce(dbops.family_size($1::oid), 0)", {to_text(found.oid)}).integer(0, 0);
  }
  return known_.emplace(key, std::move(table)).first->second;
}

bool Catalog::has_not_null_check(Oid table, const std::string& column) {
  return any("SELECT 1 FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attname = "
             "$2::text::name AND a.attnum = ANY (c.conkey)"
             " WHERE c.conrelid = $1::oid AND c.contype = 'c' AND c.convalidated"
             "  AND strpos(pg_get_constraintdef(c.oid), '(' || quote_ident($2) || ' IS NOT NULL)') > 0 AND "
             "strpos(pg_get_constraintdef(c.oid), ' OR ') = 0",
             {to_text(table), column});
}

bool Catalog::column_is_not_null(Oid table, const std::string& column) {
  return any("SELECT 1 FROM pg_attribute WHERE attrelid = $1::oid AND attname = $2::text::name AND attnotnull",
             {to_text(table), column});
}

bool Catalog::column_exists(Oid table, const std::string& column) {
  return any("SELECT 1 FROM pg_attribute WHERE attrelid = $1::oid AND attname = $2::text::name AND NOT attisdropped",
             {to_text(table), column});
}

std::optional<bool> Catalog::index_is_valid(Oid table, const std::string& index) {
  const Rows found = ask_catalog(
      "SELECT i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_class t ON t.oid = $1::oid"
      " WHERE c.relname = $2::text::name AND c.relnamespace = t.relnamespace",
      {to_text(table), index});
  if (found.empty()) return std::nullopt;
  return found.boolean(0, 0);
}

bool Catalog::has_usable_unique_index(Oid matview) {
  return any("SELECT 1 FROM pg_index WHERE indrelid = $1::oid AND indisunique AND indisvalid AND indpred IS NULL AND "
             "indexprs IS NULL",
             {to_text(matview)});
}

bool Catalog::has_index_on(Oid table, const std::vector<std::string>& columns) {
  std::string names = "{";
  for (const std::string& column : columns) {
    names += names.size() > 1 ? ",\"" : "\"";
    for (const char c : column)
      names += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    names += '"';
  }
  return any("SELECT 1 FROM pg_index i WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL AND "
             "i.indnkeyatts >= cardinality($2::text[])"
             " AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM generate_series(0, "
             "cardinality($2::text[]) - 1) k"
             "      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k])"
             "   = (SELECT array_agg(n ORDER BY n) FROM unnest($2::text[]) n)",
             {to_text(table), names + "}"});
}

std::vector<std::string> Catalog::referencing_tables(Oid table) {
  return texts("SELECT DISTINCT c.conrelid::regclass::text FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid "
               "= $1::oid AND c.conrelid <> c.confrelid"
               " AND c.conparentid = 0 ORDER BY 1",
               {to_text(table)});
}

std::vector<std::string> Catalog::leaf_partitions(Oid table) {
  return texts("SELECT format('%I.%I', n.nspname, c.relname) FROM pg_partition_tree($1::oid::regclass) t JOIN pg_class "
               "c ON c.oid = t.relid"
               " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf AND t.relid <> $1::oid ORDER BY 1",
               {to_text(table)});
}

std::string Catalog::default_partition(Oid table) {
  const Rows found = ask_catalog(
      "SELECT partdefid::regclass::text FROM pg_partitioned_table WHERE partrelid = $1::oid AND partdefid <> 0",
      {to_text(table)});
  return found.empty() ? std::string() : found.text(0, 0);
}

std::vector<std::pair<Oid, std::string>> Catalog::dependents_of_column(Oid table, const std::string& column) {
  const Rows found = ask_catalog(
      "SELECT DISTINCT CASE WHEN d.classid = 'pg_rewrite'::regclass THEN"
      "   (SELECT 'view ' || r.ev_class::regclass::text FROM pg_rewrite r WHERE r.oid = d.objid)"
      "  ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END,"
      " coalesce((SELECT r.ev_class FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid), 0)"
      " FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
      " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid AND a.attname = $2::text::name"
      "  AND d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_trigger'::regclass, "
      "'pg_publication_rel'::regclass, 'pg_proc'::regclass)"
      "  AND d.deptype = 'n' ORDER BY 1",
      {to_text(table), column});
  std::vector<std::pair<Oid, std::string>> result;
  for (std::size_t i = 0; i < found.size(); ++i)
    result.emplace_back(static_cast<Oid>(found.integer(i, 1)), found.text(i, 0));
  return result;
}

std::vector<std::string> Catalog::tables_of_domain(List* name) {
  const Oid domain = call_pg([name] { return LookupTypeNameOid(nullptr, makeTypeNameFromNameList(name), true); });
  return texts("SELECT DISTINCT c.oid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND "
               "c.relkind IN ('r', 'p', 'm')"
               " WHERE a.atttypid = $1::oid AND NOT a.attisdropped ORDER BY 1",
               {to_text(domain)});
}

std::string Catalog::foreign_key_parent(Oid table, const std::string& constraint) {
  const Rows found = ask_catalog("SELECT confrelid::regclass::text FROM pg_constraint WHERE conrelid = $1::oid AND "
                                 "conname = $2::text::name AND contype = 'f'",
                                 {to_text(table), constraint});
  return found.empty() ? std::string() : found.text(0, 0);
}

Catalog::ColumnUse Catalog::use_of_column(Oid table, const std::string& column) {
  const Rows found = ask_catalog(
      "SELECT a.attnotnull, pg_get_expr(d.adbin, d.adrelid),"
      " (SELECT q.objid::regclass::text FROM pg_depend q JOIN pg_class s ON s.oid = q.objid AND s.relkind = 'S'"
      "  WHERE q.classid = 'pg_class'::regclass AND q.refclassid = 'pg_class'::regclass AND q.refobjid = a.attrelid"
      "   AND q.refobjsubid = a.attnum AND q.deptype = 'a' LIMIT 1)"
      " FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
      " WHERE a.attrelid = $1::oid AND a.attname = $2::text::name AND NOT a.attisdropped",
      {to_text(table), column});
  ColumnUse use;
  if (found.empty()) return use;
  use.not_null = found.boolean(0, 0);
  if (!found.is_null(0, 1)) use.default_expression = found.text(0, 1);
  if (!found.is_null(0, 2)) use.sequence = found.text(0, 2);
  return use;
}

bool Catalog::has_checks_on(Oid table, const std::string& column) {
  return any(
      "SELECT 1 FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)"
      " WHERE c.conrelid = $1::oid AND c.contype = 'c' AND a.attname = $2::text::name",
      {to_text(table), column});
}

bool Catalog::is_published(Oid table) {
  return any("SELECT 1 FROM pg_publication_rel WHERE prrelid = $1::oid UNION ALL SELECT 1 FROM pg_publication WHERE "
             "puballtables",
             {to_text(table)});
}

namespace {

// Storage of the table and of its indexes.
std::pair<std::string, std::string> storage_of(const std::string& table) {
  const Rows rows = ask_catalog("SELECT (SELECT relfilenode FROM pg_class WHERE oid = to_regclass($1)),"
                                " coalesce((SELECT string_agg(c.relfilenode::text, ',' ORDER BY c.oid) FROM pg_index i "
                                "JOIN pg_class c ON c.oid = i.indexrelid"
                                "  WHERE i.indrelid = to_regclass($1)), '')",
                                {table});
  return {rows.text(0, 0), rows.text(0, 1)};
}

// How many of the files after are not among those before. By file, as an index that is kept has a new OID all the same.
int differences(const std::string& before, const std::string& after) {
  int count = 0;
  for (std::size_t at = 0; at < after.size();) {
    const std::size_t end = std::min(after.find(',', at), after.size());
    if (("," + before + ",").find("," + after.substr(at, end - at) + ",") == std::string::npos) ++count;
    at = end + 1;
  }
  return count;
}

void run_utility(Node* statement, const std::string& text) {
  call_pg([statement, &text] {
    PlannedStmt* wrapper = makeNode(PlannedStmt);
    wrapper->commandType = CMD_UTILITY;
    wrapper->utilityStmt = static_cast<Node*>(copyObjectImpl(statement));
    // As part of another command: no event trigger of somebody hears of it.
    ProcessUtility(wrapper, text.c_str(), false, PROCESS_UTILITY_SUBCOMMAND, nullptr, nullptr, None_Receiver, nullptr);
    CommandCounterIncrement();
  });
}

object_access_hook_type next_hook = nullptr;

// Called before a function is. Has nothing with a destructor, as the error leaves it by a jump.
void refuse_code_of_others(ObjectAccessType access, Oid object_class, Oid object, int part, void* argument) {
  if (next_hook != nullptr) next_hook(access, object_class, object, part, argument);
  if (access != OAT_FUNCTION_EXECUTE) return;
  HeapTuple function = SearchSysCache1(PROCOID, ObjectIdGetDatum(object));
  if (!HeapTupleIsValid(function)) return;
  const Oid owner = reinterpret_cast<Form_pg_proc>(GETSTRUCT(function))->proowner;
  ReleaseSysCache(function);
  if (owner == GetUserId() || superuser_arg(owner)) return;
  ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
          errmsg("that would call %s of the role %s", format_procedure(object), GetUserNameFromId(owner, false)));
}

// What makes a copy of a definition, or evaluates one, calls what is IMMUTABLE in it, and a default: as the caller, who
// has not asked for code of others. While one of these lives, only functions of superusers and his own are called.
class NoCodeOfOthers {
 public:
  NoCodeOfOthers() : before_(object_access_hook) {
    if (before_ == refuse_code_of_others) return;
    next_hook = before_;
    object_access_hook = refuse_code_of_others;
  }
  ~NoCodeOfOthers() { object_access_hook = before_; }
  NoCodeOfOthers(const NoCodeOfOthers&) = delete;
  NoCodeOfOthers& operator=(const NoCodeOfOthers&) = delete;
  NoCodeOfOthers(NoCodeOfOthers&&) = delete;
  NoCodeOfOthers& operator=(NoCodeOfOthers&&) = delete;

 private:
  object_access_hook_type before_;
};

// Not about the statement: operator intervention, insufficient resources.
bool ends_the_call(const SqlError& error) {
  const std::string category = error.sqlstate().substr(0, 2);
  return category == "57" || category == "53";
}

// In a subtransaction that is rolled back. Empty: all went well.
template <typename F>
std::optional<SqlError> attempt(F&& what) {
  const MemoryContext memory = CurrentMemoryContext;
  const ResourceOwner owner = CurrentResourceOwner;
  const int level = client_min_messages;
  call_pg([] { BeginInternalSubTransaction("dbops lint"); });
  MemoryContextSwitchTo(memory);
  client_min_messages = ERROR;
  std::optional<SqlError> failure;
  try {
    const NoCodeOfOthers guard;
    what();
  } catch (const SqlError& error) {
    failure = error;
  }
  call_pg([] { RollbackAndReleaseCurrentSubTransaction(); });
  MemoryContextSwitchTo(memory);
  CurrentResourceOwner = owner;
  client_min_messages = level;
  if (failure && ends_the_call(*failure)) throw SqlError(*failure);
  return failure;
}

// Of the partitioned table, in terms of one that has its columns elsewhere; as tablecmds.c makes it for ATTACH.
bool is_implied(Relation parent, Relation table, List* constraint) {
  if (constraint == NIL) return true;
  auto* expression = eval_const_expressions(nullptr, reinterpret_cast<Node*>(constraint));
  auto* normal = reinterpret_cast<List*>(canonicalize_qual(reinterpret_cast<Expr*>(expression), false));
  return PartConstraintImpliedByRelConstraint(
      table, map_partition_varattnos(list_make1(make_ands_explicit(normal)), 1, table, parent));
}

} // namespace

AttachVerdict try_attach(Oid parent, Oid partition, Oid other, PartitionBoundSpec* bounds) {
  AttachVerdict verdict;
  attempt([&] {
    call_pg([&] {
      Relation above = table_open(parent, AccessShareLock);
      Relation below = table_open(partition, AccessShareLock);
      auto* copy = static_cast<PartitionBoundSpec*>(copyObjectImpl(bounds));
      List* own = get_qual_from_partbound(above, transformPartitionBound(make_parsestate(nullptr), above, copy));
      const bool partition_fits = is_implied(above, below, list_concat_copy(own, RelationGetPartitionQual(above)));
      bool none_in_rest = true;
      if (OidIsValid(other)) {
        Relation rest = table_open(other, AccessShareLock);
        none_in_rest = PartConstraintImpliedByRelConstraint(
            rest, map_partition_varattnos(get_proposed_default_constraint(own), 1, rest, above));
        table_close(rest, NoLock);
      }
      table_close(below, NoLock);
      table_close(above, NoLock);
      verdict.partition = !partition_fits;
      verdict.rest = !none_in_rest;
    });
  });
  return verdict;
}

ShadowVerdict try_on_shadow(const Table& table, const std::string& text, AlterTableStmt* statement) {
  ShadowVerdict verdict;
  const std::optional<SqlError> failure = attempt([&] {
    // Of the same name, so that t.column in an expression means it.
    const std::string shadow = "pg_temp." + quote_name(statement->relation->relname);
    const std::string create = "CREATE TEMP TABLE " + shadow + " (LIKE " + table.name + " INCLUDING ALL)";
    run_utility(
        call_pg([&create] { return linitial_node(RawStmt, raw_parser(create.c_str(), RAW_PARSE_DEFAULT))->stmt; }),
        create);
    verdict.made = true;
    const auto before = storage_of(shadow);
    auto* copy = call_pg([statement] {
      auto* changed = static_cast<AlterTableStmt*>(copyObjectImpl(statement));
      changed->relation = makeRangeVar(pstrdup("pg_temp"), pstrdup(statement->relation->relname), -1);
      return changed;
    });
    run_utility(reinterpret_cast<Node*>(copy), text);
    const auto after = storage_of(shadow);
    verdict.rewrites = before.first != after.first;
    verdict.indexes = verdict.rewrites ? 0 : differences(before.second, after.second);
    verdict.ran = true;
  });
  if (!failure) return verdict;
  verdict.error = failure->message;
  // Also what only a role of other rights, or nobody, can try.
  if (failure->code == ERRCODE_INSUFFICIENT_PRIVILEGE) verdict.made = false;
  return verdict;
}

} // namespace dbops::server::lint
