#include "server/lifecycle/partition_bounds.h"

#include <algorithm>

#include "server/compat.h"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace dbops::server::lifecycle {

namespace {

// Of the first column; null: no bound, or none of that kind.
struct RawBounds {
  bool is_default;
  const char* lower;
  const char* upper;
};

const char* text_of(List* bound) {
  auto* datum = linitial_node(PartitionRangeDatum, bound);
  if (datum->kind != PARTITION_RANGE_DATUM_VALUE) return nullptr;
  auto* value = reinterpret_cast<Const*>(datum->value);
  Oid output = InvalidOid;
  bool is_varlena = false;
  getTypeOutputInfo(value->consttype, &output, &is_varlena);
  return OidOutputFunctionCall(output, value->constvalue);
}

RawBounds read_bounds(Oid partition) {
  RawBounds bounds{};
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(partition));
  if (!HeapTupleIsValid(tuple)) return bounds;
  bool is_null = true;
  const Datum stored = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &is_null);
  if (!is_null) {
    char* written = TextDatumGetCString(stored);
    auto* bound = static_cast<PartitionBoundSpec*>(stringToNode(written));
    bounds.is_default = bound->is_default;
    if (!bound->is_default && bound->strategy == PARTITION_STRATEGY_RANGE) {
      bounds.lower = text_of(bound->lowerdatums);
      bounds.upper = text_of(bound->upperdatums);
    }
  }
  ReleaseSysCache(tuple);
  return bounds;
}

// Of one partition, or of all.
std::vector<PartitionBounds> read_partitions(Oid table, const std::string& column, std::optional<Oid> partition) {
  std::vector<Value> parameters{to_text(table), column};
  if (partition) parameters.emplace_back(to_text(*partition));
  const int nest_level = enter_settings(canonical_text());
  const Rows found = ask_catalog(
      "SELECT i.inhrelid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), format_type(a.atttypid, NULL), "
      "i.inhdetachpending, pg_get_expr(c.relpartbound, c.oid)"
      " FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]"
      " JOIN pg_inherits i ON i.inhparent = p.partrelid JOIN pg_class c ON c.oid = i.inhrelid"
      " JOIN pg_namespace n ON n.oid = c.relnamespace"
      " WHERE p.partrelid = $1::oid AND p.partstrat = 'r' AND p.partnatts = 1 AND quote_ident(a.attname) = $2" +
          std::string(partition ? " AND i.inhrelid = $3::oid" : ""),
      parameters);
  std::vector<PartitionBounds> all;
  for (std::size_t i = 0; i < found.size(); ++i) {
    PartitionBounds one;
    one.oid = static_cast<Oid>(found.integer(i, 0));
    one.name = found.text(i, 1);
    one.type = found.text(i, 2);
    one.detaching = found.boolean(i, 3);
    one.clause = found.text(i, 4);
    const RawBounds bounds = call_pg([oid = one.oid] { return read_bounds(oid); });
    if (bounds.is_default) continue;
    if (bounds.lower != nullptr) one.lower = bounds.lower;
    if (bounds.upper != nullptr) one.upper = bounds.upper;
    all.push_back(one);
  }
  leave_settings(nest_level);
  return all;
}

} // namespace

std::optional<PartitionBounds> partition_of(Oid table, const std::string& column, Oid partition) {
  std::vector<PartitionBounds> found = read_partitions(table, column, partition);
  if (found.empty()) return std::nullopt;
  return std::move(found.front());
}

std::vector<PartitionBounds> partitions_of(Oid table, const std::string& column) {
  std::vector<PartitionBounds> all = read_partitions(table, column, std::nullopt);
  // Texts in ISO format of the same length order as the times do; the order is for people and for a run that is cut
  // short.
  std::sort(all.begin(), all.end(),
            [](const PartitionBounds& a, const PartitionBounds& b) { return a.lower < b.lower; });
  return all;
}

bool has_default_partition(Oid table) {
  return !ask_catalog("SELECT 1 FROM pg_partitioned_table WHERE partrelid = $1::oid AND partdefid <> 0",
                      {to_text(table)})
              .empty();
}

} // namespace dbops::server::lifecycle
