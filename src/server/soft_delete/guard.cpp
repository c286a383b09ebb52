// Triggers: no live row refers to a soft-deleted one; a row that is deleted in tombstone mode is kept.

#include <unordered_map>

#include "server/soft_delete/deletion.h"

extern "C" {
#include "access/htup_details.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

namespace dbops::server::soft_delete {

namespace {

// What a trigger of a referring table asks, prepared once a process and anew when any table has changed.
struct Question {
  SPIPlanPtr plan = nullptr;
  Oid as = InvalidOid; // the parent's owner, as PostgreSQL itself asks for a foreign key
  std::string constraint;
  std::string parent; // for people
  std::vector<std::string> columns;
};

constexpr int parents_owner = SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS;

std::unordered_map<Oid, Question>& questions() {
  static auto& known =
      *new std::unordered_map<Oid, Question>; // by trigger; never destroyed: proc_exit may longjmp past
  return known;
}

std::uint64_t invalidations = 0;

void forget_when_tables_change() {
  static bool watching = false;
  static std::uint64_t as_of = 0;
  if (!std::exchange(watching, true))
    call_pg([] { CacheRegisterRelcacheCallback([](Datum, Oid) { ++invalidations; }, static_cast<Datum>(0)); });
  if (std::exchange(as_of, invalidations) == invalidations) return;
  for (const auto& [trigger, question] : questions())
    if (question.plan != nullptr) call_pg([plan = question.plan] { SPI_freeplan(plan); });
  questions().clear();
}

// The one that is followed by a space or the end: others may begin with the same letters.
void replace_column(std::string& match, const std::string& mark, const std::string& by) {
  for (std::size_t at = match.find(mark); at != std::string::npos; at = match.find(mark, at + 1)) {
    const std::size_t end = at + mark.size();
    if (end != match.size() && match[end] != ' ') continue;
    match.replace(at, mark.size(), by);
    return;
  }
}

// A foreign key that is gone, or whose parent has no soft delete any more, has nothing to ask.
Question prepare(Oid table, const std::string& constraint) {
  Question question;
  for (const ForeignKey& key : foreign_keys_from(table)) {
    if (key.name != constraint) continue;
    const std::optional<Rule> parent = find_rule(key.parent);
    if (!parent || parent->mode != Mode::column) return question;
    question.as = key.parent_owner;
    question.constraint = constraint;
    question.parent = label(parent->table);
    std::vector<Oid> types;
    std::string match = key.join("p", "\x04");
    for (const KeyColumn& column : key.child_columns) {
      question.columns.push_back(column.plain);
      const Oid type = call_pg(
          [table, name = question.columns.back()] { return get_atttype(table, get_attnum(table, name.c_str())); });
      types.push_back(type);
      replace_column(match, "\x04." + column.name, "$" + std::to_string(types.size()));
    }
    const std::string text =
        "SELECT p.deleted_at IS NOT NULL FROM " + key.parent_name + " p WHERE " + match + " FOR KEY SHARE OF p";
    question.plan = as_role(question.as, parents_owner, [&] {
      const int nest_level = enter_settings({{"search_path", "pg_catalog, pg_temp"}});
      SPIPlanPtr plan = call_pg([&text, &types] {
        SPIPlanPtr made = SPI_prepare(text.c_str(), static_cast<int>(types.size()), types.data());
        if (made == nullptr) elog(ERROR, "SPI_prepare: %s", SPI_result_code_string(SPI_result));
        SPI_keepplan(made);
        return made;
      });
      undo_settings(nest_level);
      return plan;
    });
    return question;
  }
  return question;
}

std::string row_text(TriggerData* data, HeapTuple row, const std::vector<std::string>& columns) {
  std::string names;
  std::string values;
  for (const std::string& column : columns) {
    const char* value = call_pg([data, row, &column] {
      TupleDesc types = RelationGetDescr(data->tg_relation);
      return SPI_getvalue(row, types, SPI_fnumber(types, column.c_str()));
    });
    names += (names.empty() ? "" : ", ") + column;
    values += (values.empty() ? "" : ", ") + std::string(value == nullptr ? "null" : value);
  }
  return "(" + names + ")=(" + values + ")";
}

// Whether the row that this one refers to is soft-deleted; waits for who is about to delete or restore it.
bool parent_is_deleted(TriggerData* data, HeapTuple row, const Question& question) {
  static const Settings& pinned = *new Settings{{"search_path", "pg_catalog, pg_temp"}};
  return as_role(question.as, parents_owner, [&] {
    const int nest_level = enter_settings(pinned);
    const bool deleted = call_pg([data, row, &question] {
      Datum values[INDEX_MAX_KEYS];
      TupleDesc types = RelationGetDescr(data->tg_relation);
      for (std::size_t i = 0; i < question.columns.size(); ++i) {
        bool isnull = false;
        values[i] = SPI_getbinval(row, types, SPI_fnumber(types, question.columns[i].c_str()), &isnull);
        if (isnull) return false; // refers to nothing
      }
      const int code = SPI_execute_plan(question.plan, values, nullptr, false, 1);
      if (code != SPI_OK_SELECT) elog(ERROR, "SPI_execute_plan: %s", SPI_result_code_string(code));
      if (SPI_processed == 0) return false;
      bool isnull = false;
      return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
    });
    undo_settings(nest_level);
    return deleted;
  });
}

TriggerData* trigger_data(FunctionCallInfo fcinfo, const char* function) {
  if (!CALLED_AS_TRIGGER(fcinfo))
    throw SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, std::string(function) + "() is a trigger function");
  auto* data = reinterpret_cast<TriggerData*>(fcinfo->context);
  if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || !TRIGGER_FIRED_AFTER(data->tg_event))
    throw SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                   std::string(function) + "() is for AFTER triggers FOR EACH ROW");
  return data;
}

void refuse_dead_parent(TriggerData* data) {
  if (restoring()) return; // dbops.undelete() has looked itself
  forget_when_tables_change();
  const Oid trigger = data->tg_trigger->tgoid;
  auto found = questions().find(trigger);
  if (found == questions().end()) {
    if (data->tg_trigger->tgnargs != 1)
      throw SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, "the trigger names no foreign key");
    Question made = prepare(RelationGetRelid(data->tg_relation), data->tg_trigger->tgargs[0]);
    if (made.plan == nullptr) {
      const Rows root = bookkeep("SELECT coalesce(pg_partition_root($1::oid), $1::oid)::oid",
                                 {to_text(RelationGetRelid(data->tg_relation))});
      made = prepare(static_cast<Oid>(root.integer(0, 0)), data->tg_trigger->tgargs[0]);
    }
    found = questions().emplace(trigger, std::move(made)).first;
  }
  const Question& question = found->second;
  if (question.plan == nullptr) return;
  HeapTuple row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
  if (!parent_is_deleted(data, row, question)) return;
  throw SqlError(ERRCODE_FOREIGN_KEY_VIOLATION,
                 std::string("row of \"") + RelationGetRelationName(data->tg_relation) +
                     "\" refers to a soft-deleted row of " + question.parent + " by foreign key " + question.constraint,
                 "dbops.undelete() restores that row.", row_text(data, row, question.columns));
}

// Every column by its name, with the text that its type reads back; generated ones are made anew. Names of tables,
// functions and the like (regclass) are written with their schemas.
std::string image_of(TriggerData* data) {
  static const Settings& settings = *new Settings([] {
    Settings all = canonical_text();
    all.emplace_back("search_path", "pg_catalog, pg_temp");
    return all;
  }());
  const int nest_level = enter_settings(settings);
  const char* text = call_pg([data] {
    TupleDesc types = RelationGetDescr(data->tg_relation);
    StringInfoData image;
    initStringInfo(&image);
    appendStringInfoChar(&image, '{');
    for (int i = 0; i < types->natts; ++i) {
      Form_pg_attribute column = TupleDescAttr(types, i);
      if (column->attisdropped || column->attgenerated != '\0') continue;
      if (image.len > 1) appendStringInfoString(&image, ", ");
      escape_json(&image, NameStr(column->attname));
      appendStringInfoString(&image, ": ");
      const char* value = SPI_getvalue(data->tg_trigtuple, types, i + 1);
      if (value == nullptr)
        appendStringInfoString(&image, "null");
      else
        escape_json(&image, value);
    }
    appendStringInfoChar(&image, '}');
    return image.data;
  });
  leave_settings(nest_level);
  return text;
}

// The deletion of this transaction that a row of the table belongs to: one of the table itself, or of one from which
// ON DELETE CASCADE leads to it. Who may undelete or purge is asked for the target of the deletion alone, so that rows
// of other tables must not be in it. `partition`: of the table, which may have foreign keys of its own.
Rows open_deletion(const std::string& table, Oid partition) {
  return bookkeep("SELECT deletion_id FROM dbops.soft_deletion d WHERE transaction_id = pg_current_xact_id()"
                  " AND transaction_start = now() AND open AND (d.target = $1::oid OR d.target IN (WITH RECURSIVE"
                  " above(oid) AS (SELECT unnest(ARRAY[$1::oid, $2::oid]) UNION"
                  " SELECT coalesce(pg_partition_root(c.confrelid), c.confrelid)::oid FROM pg_constraint c"
                  " JOIN above a ON c.conrelid = a.oid WHERE c.contype = 'f' AND c.confdeltype = 'c')"
                  " SELECT oid FROM above)) ORDER BY deletion_id DESC LIMIT 1",
                  {table, to_text(partition)});
}

// One deletion for each call of dbops.soft_delete(), and one for all that a transaction deletes otherwise of a table
// and of what hangs on it.
void keep_tombstone(TriggerData* data) {
  // An UPDATE that moves a row to another partition: the row is there still.
  if (HeapTupleHeaderIndicatesMovedPartitions(data->tg_trigtuple->t_data)) return;
  const std::optional<Rule> rule = find_rule(RelationGetRelid(data->tg_relation));
  if (!rule || rule->mode != Mode::tombstone)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   std::string("table \"") + RelationGetRelationName(data->tg_relation) +
                       "\" has no soft delete in tombstone mode",
                   "DROP TRIGGER dbops_soft_delete_row; dbops.soft_delete_enable() makes it again.");
  const std::string table = to_text(rule->table);
  const std::string user = role_name(GetUserId());
  Rows deletion = open_deletion(table, RelationGetRelid(data->tg_relation));
  if (deletion.empty())
    deletion = bookkeep("INSERT INTO dbops.soft_deletion (target, deleted_by, actor, transaction_id, transaction_start)"
                        " VALUES ($1::oid, $2, $3::oid, pg_current_xact_id(), now()) RETURNING deletion_id",
                        {table, user, to_text(GetUserId())});
  bookkeep("INSERT INTO dbops.deleted_row (deletion_id, target, image) VALUES ($1::bigint, $2::oid, $3::jsonb)",
           {deletion.text(0, 0), table, image_of(data)});
}

} // namespace

} // namespace dbops::server::soft_delete

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_refuse_dead_parent) {
  return boundary([fcinfo] {
    TriggerData* data = soft_delete::trigger_data(fcinfo, "dbops.refuse_dead_parent");
    SpiConnection spi;
    soft_delete::refuse_dead_parent(data);
    spi.close();
    return PointerGetDatum(nullptr);
  });
}

DBOPS_SQL_FUNCTION(dbops_keep_tombstone) {
  return boundary([fcinfo] {
    TriggerData* data = soft_delete::trigger_data(fcinfo, "dbops.keep_tombstone");
    if (!TRIGGER_FIRED_BY_DELETE(data->tg_event))
      throw SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, "dbops.keep_tombstone() is for DELETE");
    SpiConnection spi;
    soft_delete::keep_tombstone(data);
    spi.close();
    return PointerGetDatum(nullptr);
  });
}
