#include "server/engine/bookkeeping.h"

#include <charconv>
#include <unordered_map>

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
}

namespace dbops::server {

namespace {

std::string copied(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

SPIPlanPtr prepare(const std::string& sql, std::size_t parameters) {
  const std::vector<Oid> types(parameters, TEXTOID);
  return call_pg([&sql, &types] {
    SPIPlanPtr made = SPI_prepare(sql.c_str(), static_cast<int>(types.size()), const_cast<Oid*>(types.data()));
    if (made == nullptr) elog(ERROR, "SPI_prepare: %s", SPI_result_code_string(SPI_result));
    return made;
  });
}

// Kept plans, by statement; a plan belongs to the process and lives as long. For dbops' own statements, of which there
// is a fixed number.
SPIPlanPtr kept_plan(const std::string& sql, std::size_t parameters) {
  static auto& plans = *new std::unordered_map<std::string, SPIPlanPtr>; // never destroyed: proc_exit may longjmp past
  if (auto found = plans.find(sql); found != plans.end()) return found->second;
  SPIPlanPtr plan = prepare(sql, parameters);
  call_pg([plan] { SPI_keepplan(plan); });
  plans.emplace(sql, plan);
  return plan;
}

Rows execute(SPIPlanPtr plan, const std::vector<Value>& parameters, bool read_only = false) {
  call_pg([plan, &parameters, read_only] {
    const std::size_t count = parameters.size();
    auto* values = static_cast<Datum*>(palloc0(sizeof(Datum) * (count + 1)));
    auto* nulls = static_cast<char*>(palloc0(count + 1));
    for (std::size_t i = 0; i < count; ++i) {
      nulls[i] = parameters[i] ? ' ' : 'n';
      if (parameters[i])
        values[i] =
            PointerGetDatum(cstring_to_text_with_len(parameters[i]->data(), static_cast<int>(parameters[i]->size())));
    }
    const int code = SPI_execute_plan(plan, values, nulls, read_only, 0);
    if (code < 0) elog(ERROR, "SPI_execute_plan: %s", SPI_result_code_string(code));
  });
  return take_result();
}

const Settings& pinned() {
  static const Settings& settings = *new Settings{{"search_path", "pg_catalog, pg_temp"}, {"row_security", "off"}};
  return settings;
}

// The extension's owner; raises when there is none.
Oid installed_for() {
  const Oid owner = extension_owner();
  if (!OidIsValid(owner))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "extension \"dbops\" is not installed in this database",
                   "CREATE EXTENSION dbops;");
  return owner;
}

} // namespace

std::int64_t Rows::integer(std::size_t row, std::size_t column) const {
  const std::string value = text(row, column);
  std::int64_t result = 0;
  std::from_chars(value.data(), value.data() + value.size(), result);
  return result;
}

double Rows::real(std::size_t row, std::size_t column) const {
  const std::string value = text(row, column);
  double result = 0;
  std::from_chars(value.data(), value.data() + value.size(), result);
  return result;
}

SpiConnection::SpiConnection() {
  call_pg([] { SPI_connect(); });
}

void SpiConnection::close() {
  call_pg([] { SPI_finish(); });
}

Rows take_result() {
  Rows result;
  result.processed = SPI_processed;
  if (SPI_tuptable == nullptr) return result;
  const int columns = SPI_tuptable->tupdesc->natts;
  result.rows.reserve(SPI_processed);
  for (std::uint64_t row = 0; row < SPI_processed; ++row) {
    std::vector<Value>& values = result.rows.emplace_back(columns);
    for (int column = 0; column < columns; ++column) {
      const char* text =
          call_pg([row, column] { return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1); });
      if (text != nullptr) values[column] = text;
    }
  }
  call_pg([] { SPI_freetuptable(SPI_tuptable); });
  SPI_tuptable = nullptr;
  return result;
}

// The text is a user's: its plan is not kept.
Rows query(const std::string& sql, const std::vector<Value>& parameters) {
  return execute(prepare(sql, parameters.size()), parameters);
}

Rows bookkeep(const std::string& sql, const std::vector<Value>& parameters) {
  return as_role(installed_for(), SECURITY_LOCAL_USERID_CHANGE, [&] { return ask_catalog(sql, parameters); });
}

Rows bookkeep_latest(const std::string& sql, const std::vector<Value>& parameters) {
  return as_role(installed_for(), SECURITY_LOCAL_USERID_CHANGE, [&] {
    const int nest_level = enter_settings(pinned());
    SPIPlanPtr plan = kept_plan(sql, parameters.size());
    call_pg([] { PushActiveSnapshot(GetLatestSnapshot()); });
    Rows result = execute(plan, parameters, true);
    call_pg([] { PopActiveSnapshot(); });
    leave_settings(nest_level);
    return result;
  });
}

Rows ask_catalog(const std::string& sql, const std::vector<Value>& parameters) {
  const int nest_level = enter_settings(pinned());
  Rows result = execute(kept_plan(sql, parameters.size()), parameters);
  leave_settings(nest_level);
  return result;
}

int enter_settings(const Settings& settings) {
  return call_pg([&settings] {
    const int nest_level = NewGUCNestLevel();
    for (const auto& [name, value] : settings) {
      // As a superuser would: deadlock_timeout is PGC_SUSET, and what stands in `settings` is ours, not the user's.
      set_config_option(name.c_str(), value.c_str(), PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    }
    return nest_level;
  });
}

void leave_settings(int nest_level) {
  call_pg([nest_level] { AtEOXact_GUC(true, nest_level); });
}

void undo_settings(int nest_level) {
  call_pg([nest_level] { AtEOXact_GUC(false, nest_level); });
}

void lock_at_most(const char* time) {
  call_pg([time] {
    set_config_option("lock_timeout", time, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
  });
}

void commit_without_waiting() {
  call_pg([] {
    set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
  });
}

const Settings& canonical_text() {
  static const Settings settings{{"DateStyle", "ISO, YMD"},   {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"},
                                 {"extra_float_digits", "3"}, {"bytea_output", "hex"},       {"lc_monetary", "C"}};
  return settings;
}

Oid extension_oid() {
  return call_pg([] { return get_extension_oid("dbops", true); });
}

// The schema's owner: the preamble of the extension makes sure that it is the extension's.
Oid extension_owner() {
  return call_pg([] {
    const Oid schema = get_namespace_oid("dbops", true);
    if (!OidIsValid(schema) || !OidIsValid(get_extension_oid("dbops", true))) return InvalidOid;
    HeapTuple tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
    if (!HeapTupleIsValid(tuple)) return InvalidOid;
    const Oid owner = reinterpret_cast<Form_pg_namespace>(GETSTRUCT(tuple))->nspowner;
    ReleaseSysCache(tuple);
    return owner;
  });
}

std::string extension_version() {
  const char* version = call_pg([]() -> const char* {
    Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("dbops"));
    SysScanDesc scan = systable_beginscan(catalog, ExtensionNameIndexId, true, nullptr, 1, &key);
    char* found = nullptr;
    if (HeapTuple tuple = systable_getnext(scan); HeapTupleIsValid(tuple)) {
      bool isnull = true;
      const Datum value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(catalog), &isnull);
      if (!isnull) found = text_to_cstring(DatumGetTextPP(value));
    }
    systable_endscan(scan);
    table_close(catalog, AccessShareLock);
    return found;
  });
  return copied(version);
}

std::string to_text(std::int64_t value) {
  return std::to_string(value);
}

std::string quote_name(const std::string& name) {
  return copied(call_pg([&name] { return quote_identifier(name.c_str()); }));
}

std::string quote_text(const std::string& text) {
  return copied(call_pg([&text] { return quote_literal_cstr(text.c_str()); }));
}

std::string qualified_name(Oid relation) {
  return copied(call_pg([relation]() -> const char* {
    const char* name = get_rel_name(relation);
    if (name == nullptr) return nullptr;
    const char* schema = get_namespace_name(get_rel_namespace(relation));
    return schema == nullptr ? nullptr : quote_qualified_identifier(schema, name);
  }));
}

std::string role_name(Oid role) {
  return copied(call_pg([role] { return GetUserNameFromId(role, true); }));
}

} // namespace dbops::server
