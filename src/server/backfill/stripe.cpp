// The stripe of a row: which of the sub-batches of its chunk it belongs to.

#include <array>

#include "server/guard.h"
#include "server/pg.h"

extern "C" {
#include "common/hashfn.h"
#include "storage/itemptr.h"
#include "utils/typcache.h"
}

namespace {

struct KeyHash {
  int count;
  FmgrInfo functions[FUNC_MAX_ARGS];
  Oid collations[FUNC_MAX_ARGS];
};

KeyHash* prepare(FunctionCallInfo fcinfo) {
  auto* hash = static_cast<KeyHash*>(MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(KeyHash)));
  hash->count = PG_NARGS() - 1;
  for (int i = 0; i < hash->count; ++i) {
    const Oid type = get_fn_expr_argtype(fcinfo->flinfo, i + 1);
    const TypeCacheEntry* entry =
        lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC | TYPECACHE_HASH_EXTENDED_PROC_FINFO);
    if (!OidIsValid(entry->hash_extended_proc))
      ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("type %s cannot be hashed", format_type_be(type))));
    fmgr_info_cxt(entry->hash_extended_proc, &hash->functions[i], fcinfo->flinfo->fn_mcxt);
    hash->collations[i] = entry->typcollation;
  }
  fcinfo->flinfo->fn_extra = hash;
  return hash;
}

} // namespace

// Called for every row that a batch visits: plain C, no object with a destructor, nothing thrown.
DBOPS_SQL_FUNCTION(dbops_tid_stripe) {
  const auto* tid = reinterpret_cast<ItemPointer>(PG_GETARG_POINTER(0));
  const int32 stripes = PG_GETARG_INT32(1);
  if (stripes < 1) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("stripes must be positive")));
  PG_RETURN_INT32(ItemPointerGetOffsetNumberNoCheck(tid) % stripes);
}

DBOPS_SQL_FUNCTION(dbops_key_stripe) {
  if (PG_ARGISNULL(0)) PG_RETURN_NULL();
  const int32 stripes = PG_GETARG_INT32(0);
  if (stripes < 1) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("stripes must be positive")));
  auto* hash = static_cast<KeyHash*>(fcinfo->flinfo->fn_extra);
  if (hash == nullptr) hash = prepare(fcinfo);
  uint64 mixed = 0;
  for (int i = 0; i < hash->count; ++i) {
    if (PG_ARGISNULL(i + 1)) continue;
    const uint64 value = DatumGetUInt64(
        FunctionCall2Coll(&hash->functions[i], hash->collations[i], PG_GETARG_DATUM(i + 1), UInt64GetDatum(0)));
    mixed = hash_combine64(mixed, value);
  }
  PG_RETURN_INT32(static_cast<int32>(mixed % static_cast<uint64>(stripes)));
}
