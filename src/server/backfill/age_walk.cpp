#include "server/backfill/age_walk.h"

#include "server/compat.h"

extern "C" {
#include "access/genam.h"
#include "access/itup.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace dbops::server::backfill {

namespace {

Datum read_age(Oid type, const char* text) {
  Oid input = InvalidOid;
  Oid parameter = InvalidOid;
  getTypeInputInfo(type, &input, &parameter);
  return OidInputFunctionCall(input, const_cast<char*>(text), parameter, -1);
}

const char* write_age(Oid type, Datum age) {
  Oid output = InvalidOid;
  bool is_varlena = false;
  getTypeOutputInfo(type, &output, &is_varlena);
  return OidOutputFunctionCall(output, age);
}

void bound(ScanKeyData& key, Relation index, StrategyNumber strategy, Datum age) {
  const Oid type = index->rd_opcintype[0];
  const Oid op = get_opfamily_member(index->rd_opfamily[0], type, type, static_cast<int16>(strategy));
  ScanKeyEntryInitialize(&key, 0, 1, strategy, InvalidOid, index->rd_indcollation[0], get_opcode(op), age);
}

struct Bounds {
  const char* after; // null: from the beginning
  bool inclusive;
  const char* upto;
  std::int64_t most;
};

struct Found {
  bool more;
  const char* age; // null: none
};

// An entry with another age than the one before it ends a group, all of which the batch may have.
Found walk(IndexScanDesc scan, Relation index, std::int64_t most) {
  const bool descending = (index->rd_indoption[0] & INDOPTION_DESC) != 0;
  Form_pg_attribute column = TupleDescAttr(RelationGetDescr(index), 0);
  Datum current = 0;
  Datum last = 0; // of the group before
  bool complete = false;
  for (std::int64_t count = 0;
       index_getnext_tid(scan, descending ? BackwardScanDirection : ForwardScanDirection) != nullptr; ++count) {
    CHECK_FOR_INTERRUPTS();
    bool is_null = false;
    const Datum age = index_getattr(scan->xs_itup, 1, scan->xs_itupdesc, &is_null);
    if (is_null) continue; // the bounds let none through
    if (count == 0)
      current = datumCopy(age, column->attbyval, column->attlen);
    else if (!datumIsEqual(age, current, column->attbyval, column->attlen)) {
      last = current;
      complete = true;
      current = datumCopy(age, column->attbyval, column->attlen);
    }
    if (count == most) return {true, complete ? write_age(index->rd_opcintype[0], last) : nullptr};
  }
  return {false, nullptr};
}

Found look(Oid table_oid, Oid index_oid, const Bounds& bounds) {
  Relation table = table_open(table_oid, AccessShareLock);
  Relation index = index_open(index_oid, AccessShareLock);
  ScanKeyData keys[2];
  int count = 0;
  if (bounds.after != nullptr)
    bound(keys[count++], index, bounds.inclusive ? BTGreaterEqualStrategyNumber : BTGreaterStrategyNumber,
          read_age(index->rd_opcintype[0], bounds.after));
  bound(keys[count++], index, BTLessEqualStrategyNumber, read_age(index->rd_opcintype[0], bounds.upto));
  IndexScanDesc scan = compat::begin_index_scan(table, index, GetActiveSnapshot(), count);
  scan->xs_want_itup = true;
  index_rescan(scan, keys, count, nullptr, 0);
  const Found found = walk(scan, index, bounds.most);
  index_endscan(scan);
  index_close(index, AccessShareLock);
  table_close(table, AccessShareLock);
  return found;
}

} // namespace

AgeAhead age_ahead(const Table& table, const std::optional<std::string>& after, bool inclusive, const std::string& upto,
                   std::int64_t n) {
  const Bounds bounds{after ? after->c_str() : nullptr, inclusive, upto.c_str(), n};
  const Found found = call_pg([&table, &bounds] { return look(table.oid, table.key.index, bounds); });
  AgeAhead ahead;
  ahead.more = found.more;
  if (found.age != nullptr) ahead.age = found.age;
  return ahead;
}

} // namespace dbops::server::backfill
