#include "server/backfill/table.h"

#include <algorithm>
#include <cmath>

#include "server/compat.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_statistic.h"
#include "commands/defrem.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
}

namespace dbops::server::backfill {

namespace {

// What can leave a frame that a longjmp may pass through.
struct RawKey {
  int count;
  AttrNumber columns[INDEX_MAX_KEYS];
  Oid types[INDEX_MAX_KEYS];
  Oid families[INDEX_MAX_KEYS];
  Oid collations[INDEX_MAX_KEYS];
  bool hashable[INDEX_MAX_KEYS];
  const char* after;
  const char* upto;
};

struct RawTable {
  bool found;
  Oid owner;
  RawKey key;
  const char* key_names[INDEX_MAX_KEYS];
  bool hot;
  bool changes_key;
  bool row_triggers;
  int indexes;
  double tuples;
  std::uint32_t pages;
  std::uint32_t blocks;
};

// Types of these families compare alike, and the text of a value is the same value in any of them: a place in the order
// remains one when the column becomes another of them. It is not so in datetime_ops (a time zone comes in), float_ops
// (float4 rounds) or enum_ops (each enum has an order of its own).
bool order_outlives_type(Oid family) {
  return family == INTEGER_BTREE_FAM_OID || family == TEXT_BTREE_FAM_OID;
}

bool is_assigned(Relation relation, AttrNumber column, const char* const* names, int count) {
  const char* name = NameStr(TupleDescAttr(RelationGetDescr(relation), column - 1)->attname);
  return std::any_of(names, names + count, [name](const char* assigned) { return std::strcmp(assigned, name) == 0; });
}

// A stored generated column is computed anew from the columns that it refers to.
bool is_generated_from(Relation relation, AttrNumber column, const char* const* assigned, int assigned_count) {
  const TupleConstr* constraints = RelationGetDescr(relation)->constr;
  if (constraints == nullptr || TupleDescAttr(RelationGetDescr(relation), column - 1)->attgenerated == '\0')
    return false;
  for (int i = 0; i < constraints->num_defval; ++i) {
    if (constraints->defval[i].adnum != column) continue;
    Bitmapset* used = nullptr;
    pull_varattnos(static_cast<Node*>(stringToNode(constraints->defval[i].adbin)), 1, &used);
    for (int member = -1; (member = bms_next_member(used, member)) >= 0;) {
      const auto number = static_cast<AttrNumber>(member + FirstLowInvalidHeapAttributeNumber);
      if (number <= 0 || is_assigned(relation, number, assigned, assigned_count)) return true; // 0: the whole row
    }
  }
  return false;
}

bool is_changed(Relation relation, AttrNumber column, const char* const* assigned, int assigned_count) {
  return is_assigned(relation, column, assigned, assigned_count) ||
         is_generated_from(relation, column, assigned, assigned_count);
}

const char* operator_of(Relation index, int column, int strategy) {
  const Oid op = get_opfamily_member(index->rd_opfamily[column], index->rd_opcintype[column],
                                     index->rd_opcintype[column], static_cast<int16>(strategy));
  if (!OidIsValid(op)) return nullptr;
  HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(op));
  if (!HeapTupleIsValid(tuple)) return nullptr;
  auto* row = reinterpret_cast<Form_pg_operator>(GETSTRUCT(tuple));
  const char* text =
      psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(row->oprnamespace)), NameStr(row->oprname));
  ReleaseSysCache(tuple);
  return text;
}

// Fills `key` when the index can order the rows.
bool read_key(Relation relation, Relation index, const char* const* assigned, int assigned_count, RawKey& key) {
  Form_pg_index row = index->rd_index;
  if (!row->indisunique || !row->indimmediate || !row->indisvalid || !row->indisready ||
      index->rd_rel->relam != BTREE_AM_OID || !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr) ||
      !heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, nullptr))
    return false;
  key.count = row->indnkeyatts;
  for (int i = 0; i < key.count; ++i) {
    const AttrNumber column = row->indkey.values[i];
    if (column <= 0 || is_changed(relation, column, assigned, assigned_count)) return false;
    Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), column - 1);
    // All ascending or all descending: only then is a row comparison one range of the index.
    if ((index->rd_indoption[i] & INDOPTION_DESC) != (index->rd_indoption[0] & INDOPTION_DESC)) return false;
    if (!compat::has_no_nulls(RelationGetDescr(relation), column - 1) ||
        index->rd_indcollation[i] != attribute->attcollation)
      return false;
    const Oid default_class = GetDefaultOpClass(attribute->atttypid, BTREE_AM_OID);
    if (!OidIsValid(default_class) || get_opclass_family(default_class) != index->rd_opfamily[i]) return false;
    const char* after = operator_of(index, i, BTGreaterStrategyNumber);
    const char* upto = operator_of(index, i, BTLessEqualStrategyNumber);
    if (after == nullptr || upto == nullptr) return false;
    // One operator name stands for the whole row comparison.
    if (i > 0 && (std::strcmp(after, key.after) != 0 || std::strcmp(upto, key.upto) != 0)) return false;
    key.after = after;
    key.upto = upto;
    key.columns[i] = column;
    key.types[i] = attribute->atttypid;
    key.families[i] = index->rd_opfamily[i];
    key.collations[i] = attribute->attcollation;
    key.hashable[i] =
        OidIsValid(lookup_type_cache(attribute->atttypid, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc);
  }
  return key.count > 0;
}

// The primary key if it will do, else the unique index with the fewest columns.
void choose_key(Relation relation, const char* const* assigned, int assigned_count, RawTable& out) {
  List* indexes = RelationGetIndexList(relation);
  const Oid primary = compat::primary_key_index(relation);
  out.indexes = list_length(indexes);
  ListCell* cell = nullptr;
  foreach (cell, indexes) {
    const Oid oid = lfirst_oid(cell);
    Relation index = index_open(oid, AccessShareLock);
    RawKey key{};
    const bool usable = read_key(relation, index, assigned, assigned_count, key);
    index_close(index, AccessShareLock);
    if (!usable || (oid != primary && out.key.count > 0 && out.key.count <= key.count)) continue;
    out.key = key;
    if (oid == primary) break;
  }
  list_free(indexes);
  for (int i = 0; i < out.key.count; ++i)
    out.key_names[i] =
        pstrdup(quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(relation), out.key.columns[i] - 1)->attname)));
}

bool changes_one_of(Relation relation, const Bitmapset* columns, const char* const* assigned, int assigned_count) {
  TupleDesc descriptor = RelationGetDescr(relation);
  for (int i = 0; i < descriptor->natts; ++i) {
    const AttrNumber column = TupleDescAttr(descriptor, i)->attnum;
    if (!TupleDescAttr(descriptor, i)->attisdropped &&
        bms_is_member(column - FirstLowInvalidHeapAttributeNumber, columns) &&
        is_changed(relation, column, assigned, assigned_count))
      return true;
  }
  return false;
}

void read_table(Oid oid, const char* const* assigned, int assigned_count, RawTable& out) {
  Relation relation = try_relation_open(oid, AccessShareLock);
  out.found = relation != nullptr;
  if (!out.found) return;
  out.owner = relation->rd_rel->relowner;
  choose_key(relation, assigned, assigned_count, out);
  out.hot = !changes_one_of(relation, compat::hot_blocking_columns(relation), assigned, assigned_count);
  // As heap_update() chooses the lock of a row.
  out.changes_key =
      changes_one_of(relation, RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_KEY), assigned, assigned_count);
  out.row_triggers = relation->trigdesc != nullptr && relation->trigdesc->trig_update_before_row;
  out.tuples = relation->rd_rel->reltuples;
  out.pages = static_cast<std::uint32_t>(relation->rd_rel->relpages);
  out.blocks = RELKIND_HAS_STORAGE(relation->rd_rel->relkind) ? RelationGetNumberOfBlocks(relation) : 0;
  relation_close(relation, AccessShareLock);
}

bool inherits_from(Oid relation, Oid target) {
  if (relation == target) return true;
  Relation inheritance = table_open(InheritsRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
  SysScanDesc scan = systable_beginscan(inheritance, InheritsRelidSeqnoIndexId, true, nullptr, 1, &key);
  bool found = false;
  for (HeapTuple tuple = nullptr; !found && HeapTupleIsValid(tuple = systable_getnext(scan));) {
    auto* row = reinterpret_cast<Form_pg_inherits>(GETSTRUCT(tuple));
    found = !row->inhdetachpending && inherits_from(row->inhparent, target);
  }
  systable_endscan(scan);
  table_close(inheritance, AccessShareLock);
  return found;
}

[[noreturn]] void refuse(Oid relation, int code, const std::string& why, const std::string& hint = {}) {
  const std::string name = qualified_name(relation);
  throw SqlError(code, (name.empty() ? "relation " + to_text(relation) : name) + " " + why, hint);
}

} // namespace

bool TableKey::hashable() const noexcept {
  return std::all_of(columns.begin(), columns.end(), [](const KeyColumn& column) { return column.hashable; });
}

std::optional<Table> describe_table(Oid oid, const std::vector<std::string>& assigned_columns) {
  std::vector<const char*> assigned;
  assigned.reserve(assigned_columns.size());
  for (const std::string& column : assigned_columns)
    assigned.push_back(column.c_str());
  RawTable raw{};
  call_pg([&raw, &assigned, oid] { read_table(oid, assigned.data(), static_cast<int>(assigned.size()), raw); });
  if (!raw.found) return std::nullopt;
  Table table;
  table.oid = oid;
  table.name = qualified_name(oid);
  table.owner = raw.owner;
  table.hot = raw.hot;
  table.changes_key = raw.changes_key;
  table.row_triggers = raw.row_triggers;
  table.indexes = raw.indexes;
  table.blocks = raw.blocks;
  // Before the first ANALYZE reltuples is -1: some 8 kB of short rows.
  table.rows_per_block = raw.tuples > 0 && raw.pages > 0 ? std::max(raw.tuples / raw.pages, 0.1) : 60.0;
  table.rows = std::ceil(table.rows_per_block * table.blocks);
  for (int i = 0; i < raw.key.count; ++i) {
    table.key.columns.push_back({raw.key_names[i], raw.key.types[i], raw.key.hashable[i]});
    table.key.identity += (i > 0 ? " " : "") + std::to_string(raw.key.columns[i]) + ":" +
                          std::to_string(raw.key.families[i]) + ":" + std::to_string(raw.key.collations[i]);
    if (!order_outlives_type(raw.key.families[i])) table.key.identity += ":" + std::to_string(raw.key.types[i]);
  }
  if (table.key.usable()) {
    table.key.after = raw.key.after;
    table.key.upto = raw.key.upto;
  }
  return table;
}

std::optional<Table> describe_table_by(Oid oid, const std::string& column) {
  std::optional<Table> table = describe_table(oid, {});
  if (!table || !table->key.usable()) return table;
  TableKey key;
  const Rows found = ask_catalog(
      "SELECT a.atttypid, a.attnum, f.oid, a.attcollation, i.indpred IS NOT NULL, i.indexrelid FROM pg_attribute a "
      "JOIN pg_index i "
      "ON "
      "i.indrelid = a.attrelid AND"
      " i.indkey[0] = a.attnum JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
      " JOIN pg_opclass o ON o.oid = i.indclass[0] JOIN pg_opfamily f ON f.oid = o.opcfamily"
      " WHERE a.attrelid = $1::oid AND quote_ident(a.attname) = $2 AND m.amname = 'btree' AND i.indisvalid "
      "AND i.indisready"
      " AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = '(' || $2 || ' IS NOT NULL)')"
      " AND o.opcdefault AND i.indcollation[0] = a.attcollation ORDER BY i.indpred IS NULL, i.indnkeyatts DESC "
      "LIMIT 1",
      {to_text(oid), column});
  // One operator name stands for the whole row comparison; those of the types that have an age are PostgreSQL's own.
  if (!found.empty() && table->key.after == "OPERATOR(pg_catalog.>)" && table->key.upto == "OPERATOR(pg_catalog.<=)") {
    key = table->key;
    key.columns.insert(key.columns.begin(), {column, static_cast<Oid>(found.integer(0, 0)), false});
    if (found.boolean(0, 4)) key.present = column + " IS NOT NULL";
    key.index = static_cast<Oid>(found.integer(0, 5));
    key.identity = found.text(0, 1) + ":" + found.text(0, 2) + ":" + found.text(0, 3) +
                   (order_outlives_type(static_cast<Oid>(found.integer(0, 2))) ? "" : ":" + found.text(0, 0)) + " " +
                   key.identity;
  }
  table->key = key;
  return table;
}

namespace {

int column_count(Oid relation) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
  if (!HeapTupleIsValid(tuple)) return 0;
  const int count = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relnatts;
  ReleaseSysCache(tuple);
  return count;
}

} // namespace

// By the cache: pg_stats reads the statistics of the whole database for one column.
std::optional<double> correlation(Oid relation, const std::string& column) {
  struct Found {
    bool known;
    double value;
  };
  const Found found = call_pg([relation, &column] {
    Found result{false, 0};
    const int columns = column_count(relation);
    for (int number = 1; number <= columns; ++number) {
      const char* name = get_attname(relation, static_cast<AttrNumber>(number), true);
      if (name == nullptr || column != quote_identifier(name)) continue;
      HeapTuple tuple =
          SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relation), Int16GetDatum(number), BoolGetDatum(false));
      if (!HeapTupleIsValid(tuple)) break;
      AttStatsSlot slot;
      if (get_attstatsslot(&slot, tuple, STATISTIC_KIND_CORRELATION, InvalidOid, ATTSTATSSLOT_NUMBERS)) {
        result = {true, slot.numbers[0]};
        free_attstatsslot(&slot);
      }
      ReleaseSysCache(tuple);
      break;
    }
    return result;
  });
  if (!found.known) return std::nullopt;
  return found.value;
}

double average_width(Oid relation) {
  return call_pg([relation] {
    double width = 0;
    const int columns = column_count(relation);
    for (int number = 1; number <= columns; ++number)
      width += get_attavgwidth(relation, static_cast<AttrNumber>(number));
    return width;
  });
}

std::vector<Oid> family(Oid relation) {
  struct Members {
    int count;
    Oid* oids;
  };
  const Members members = call_pg([relation] {
    if (get_rel_relkind(relation) == '\0') return Members{0, nullptr}; // has_subclass() would raise
    List* all = find_all_inheritors(relation, NoLock, nullptr);
    Members found{0, static_cast<Oid*>(palloc(sizeof(Oid) * static_cast<std::size_t>(list_length(all))))};
    ListCell* cell = nullptr;
    foreach (cell, all) {
      const char kind = get_rel_relkind(lfirst_oid(cell));
      if (kind != RELKIND_PARTITIONED_TABLE && kind != '\0') found.oids[found.count++] = lfirst_oid(cell);
    }
    return found;
  });
  std::vector<Oid> result(members.oids, members.oids + members.count);
  std::sort(result.begin(), result.end());
  return result;
}

bool belongs_to(Oid relation, Oid target) {
  return call_pg([relation, target] { return inherits_from(relation, target); });
}

void require_suitable(Oid relation) {
  struct Facts {
    char kind;
    char persistence;
    bool system;
    Oid schema;
  };
  const Facts facts = call_pg([relation] {
    if (get_rel_relkind(relation) == '\0') return Facts{'\0', '\0', false, InvalidOid}; // others would raise
    const Oid schema = get_rel_namespace(relation);
    const bool system = IsCatalogRelationOid(relation) || IsCatalogNamespace(schema) || IsToastNamespace(schema) ||
                        schema == get_namespace_oid("information_schema", true);
    return Facts{get_rel_relkind(relation), get_rel_persistence(relation), system, schema};
  });
  if (facts.kind == '\0')
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "relation with OID " + to_text(relation) + " does not exist");
  if (facts.system) refuse(relation, ERRCODE_FEATURE_NOT_SUPPORTED, "is a system table");
  if (facts.kind == RELKIND_FOREIGN_TABLE)
    refuse(relation, ERRCODE_FEATURE_NOT_SUPPORTED, "is a foreign table",
           "Run the job on the server that holds the rows.");
  if (facts.kind != RELKIND_RELATION && facts.kind != RELKIND_PARTITIONED_TABLE)
    refuse(relation, ERRCODE_WRONG_OBJECT_TYPE, "is not a table");
  if (facts.persistence == RELPERSISTENCE_TEMP)
    refuse(relation, ERRCODE_FEATURE_NOT_SUPPORTED, "is a temporary table, which no other session can see");
  if (facts.schema == call_pg([] { return get_namespace_oid("dbops", true); }))
    refuse(relation, ERRCODE_FEATURE_NOT_SUPPORTED, "belongs to dbops itself");
}

void require_all_rows(Oid relation, Oid role) {
  const bool filtered = call_pg([relation, role] { return check_enable_rls(relation, role, true) == RLS_ENABLED; });
  if (filtered)
    refuse(
        relation, ERRCODE_INSUFFICIENT_PRIVILEGE,
        "has row-level security, which would hide rows from role \"" + role_name(role) + "\"",
        "Run it as the table's owner (without FORCE ROW LEVEL SECURITY) or as a role with BYPASSRLS: run_as => '...'.");
}

} // namespace dbops::server::backfill
