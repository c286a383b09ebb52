#include "server/backfill/claim.h"

#include <algorithm>
#include <cmath>

#include "core/text/json_text.h"
#include "server/compat.h"

extern "C" {
#include "utils/lsyscache.h"
}

namespace dbops::server::backfill {

namespace {

using nlohmann::json;

// Below this a table is done in one go per batch: there is nothing to win from pruning between stripes.
constexpr std::uint32_t smallest_striped_table = 128; // blocks

// The next table of the family after the one the cursor is in; partitions attached meanwhile are met when their OID is
// higher, and by the sweep otherwise.
Oid next_relation(const Job& job, Oid current, const std::set<Oid>& left_out) {
  const std::vector<Oid> members = family(job.target);
  if (members.empty() && call_pg([&job] { return get_rel_relkind(job.target); }) == '\0')
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "table " + job.target_name + " was dropped", "dbops.cancel() the job.");
  auto next = std::upper_bound(members.begin(), members.end(), current);
  while (next != members.end() && left_out.contains(*next))
    ++next;
  return next == members.end() ? InvalidOid : *next;
}

// Fixes how far the pass goes in this table: rows that come later are the application's own affair, or the sweep's.
bool enter(BatchRunner& runner, const Table& table, Cursor& cursor) {
  cursor.position.erase("after");
  cursor.position.erase("block");
  cursor.position["relation"] = table.oid;
  if (cursor.order == Order::block) {
    cursor.position["block"] = 0;
    cursor.position["upto"] = table.blocks;
    return table.blocks > 0;
  }
  require_key(table, table.key.identity);
  const std::optional<Key> last = runner.last_key(table);
  if (!last) return false;
  cursor.position["key"] = table.key.identity;
  cursor.position["after"] = Key{};
  cursor.position["upto"] = *last;
  return true;
}

Unit next_blocks(const Table& table, Cursor& cursor, std::int64_t rows, bool& finished) {
  const auto from = cursor.position.at("block").get<std::uint32_t>();
  const auto upto = cursor.position.at("upto").get<std::uint32_t>();
  const double blocks = std::max(1.0, std::ceil(static_cast<double>(rows) / table.rows_per_block));
  const auto to = static_cast<std::uint32_t>(std::min<double>(upto, from + blocks));
  Unit unit;
  unit.order = Order::block;
  unit.from = {from, 0};
  unit.to = {to, 0};
  unit.rows = static_cast<std::int64_t>(table.rows_per_block * (to - from));
  cursor.position["block"] = to;
  finished = to >= upto;
  return unit;
}

Unit next_keys(BatchRunner& runner, const Table& table, Cursor& cursor, std::int64_t rows, bool& finished) {
  require_key(table, cursor.position.value("key", ""));
  Unit unit;
  unit.order = Order::key;
  unit.key = table.key.identity;
  unit.after = cursor.position.at("after").get<Key>();
  const Key upto = cursor.position.at("upto").get<Key>();
  const std::optional<Key> end = runner.nth_key(table, unit.after, upto, rows - 1);
  unit.upto = end.value_or(upto);
  unit.rows = rows;
  cursor.position["after"] = unit.upto;
  finished = !end;
  return unit;
}

} // namespace

void require_key(const Table& table, const std::string& identity) {
  if (!table.key.usable())
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + table.name + " has no usable key any more",
                   "The job walks by a primary or unique key; restore it, then SELECT dbops.retry().");
  if (table.key.identity != identity)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "table " + table.name + " has another key than the one that the job walks by",
                   "Its place in the old key's order means nothing in the new one. Restore the key, then SELECT "
                   "dbops.retry(); or make "
                   "a new job, with a condition that leaves out the rows that are done.");
}

Cursor lock_cursor(std::int64_t job) {
  const Rows found =
      bookkeep("SELECT pass, strategy, position, pass_rows FROM dbops.job_cursor WHERE job_id = $1::bigint FOR UPDATE",
               {to_text(job)});
  if (found.empty()) throw SqlError(ERRCODE_UNDEFINED_OBJECT, "job " + to_text(job) + " does not exist");
  Cursor cursor;
  cursor.pass = static_cast<int>(found.integer(0, 0));
  cursor.strategy = found.text(0, 1);
  cursor.position = core::parse_json_text(found.text(0, 2));
  cursor.order = cursor.position.value("order", "key") == "key" ? Order::key : Order::block;
  cursor.pass_rows = found.integer(0, 3);
  return cursor;
}

void store_cursor(std::int64_t job, const Cursor& cursor) {
  json position = cursor.position;
  position["order"] = cursor.order == Order::key ? "key" : "block";
  bookkeep("UPDATE dbops.job_cursor SET pass = $2::integer, strategy = $3, position = $4::jsonb, pass_rows = $5::bigint"
           " WHERE job_id = $1::bigint",
           {to_text(job), to_text(cursor.pass), cursor.strategy, core::json_text(position), to_text(cursor.pass_rows)});
}

std::optional<Unit> claim(BatchRunner& runner, const Job& job, Cursor& cursor, const ChunkWish& wish,
                          const std::set<Oid>& left_out) {
  while (!cursor.position.value("done", false)) {
    auto relation = cursor.position.value("relation", InvalidOid);
    const bool inside = cursor.position.contains("upto");
    const Table* table = inside ? runner.lock_table(relation) : nullptr;
    if (table == nullptr) { // at the start, between two tables, or the partition is gone
      relation = next_relation(job, relation, left_out);
      cursor.position.erase("upto");
      if (!OidIsValid(relation)) {
        cursor.position["done"] = true;
        break;
      }
      cursor.position["relation"] = relation;
      runner.forget(relation); // its size, as it is now
      table = runner.lock_table(relation);
      if (table == nullptr || !enter(runner, *table, cursor)) {
        cursor.position.erase("upto");
        continue;
      }
    }
    const bool striped = wish.stripes > 1 && table->blocks >= smallest_striped_table &&
                         (cursor.order == Order::block || table->key.hashable());
    const int stripes = striped ? wish.stripes : 1;
    bool finished = false;
    Unit unit = cursor.order == Order::block
                    ? next_blocks(*table, cursor, wish.rows_per_batch * stripes, finished)
                    : next_keys(runner, *table, cursor, wish.rows_per_batch * stripes, finished);
    if (finished) cursor.position.erase("upto");
    unit.relation = table->oid;
    unit.stripes = unit.end = stripes;
    if (cursor.pass == 0) {
      unit.place = cursor.position.value("claims", std::int64_t{0}) + 1;
      cursor.position["claims"] = unit.place;
    }
    return unit;
  }
  return std::nullopt;
}

} // namespace dbops::server::backfill
