// The SQL functions hold and release. See src/schema/lifecycle.sql.

#include <nlohmann/json.hpp>

#include "core/text/json_text.h"
#include "server/arguments.h"
#include "server/backfill/input.h"
#include "server/backfill/table.h"
#include "server/compat.h"
#include "server/engine/submit.h"
#include "server/lifecycle/hold_condition.h"
#include "server/lifecycle/holds.h"

extern "C" {
#include "utils/acl.h"
#include "utils/syscache.h"
}

namespace dbops::server::lifecycle {

namespace {

// Who answers for a table: its owner's role, dbops_admin, superusers. relation may be gone.
void require_responsible(Oid relation, const std::string& name) {
  const bool allowed = call_pg([relation] {
    const Oid admin = get_role_oid("dbops_admin", true);
    return superuser() || (OidIsValid(admin) && is_member_of_role(GetUserId(), admin)) ||
           (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)) && compat::owns_relation(relation, GetUserId()));
  });
  if (!allowed)
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied for holds on " + name,
                   "The owner of the table, members of dbops_admin and superusers may place and release them.");
}

std::string reason_argument(Arguments& in) {
  const std::optional<std::string> reason = in.string();
  if (!reason)
    throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "reason must not be null",
                   "It is what is shown later, with your name.");
  if (reason->find_first_not_of(" \t\r\n") == std::string::npos)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "reason must not be empty");
  return *reason;
}

std::int64_t place(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  Hold hold;
  hold.target = in.relation();
  hold.condition = in.string();
  hold.reason = reason_argument(in);
  backfill::require_suitable(hold.target);
  const std::string name = qualified_name(hold.target);
  require_responsible(hold.target, name);
  hold.settings = session_settings();
  if (hold.condition) check_hold_condition(hold.target, hold);
  lock_for_new_hold();
  return bookkeep("INSERT INTO dbops.legal_hold (target, target_name, condition, settings, reason, placed_by)"
                  " VALUES ($1::oid, $2, $3, $4::jsonb, $5, $6) RETURNING hold_id",
                  {to_text(hold.target), name, hold.condition, core::json_text(nlohmann::json(hold.settings)),
                   hold.reason, role_name(GetUserId())})
      .integer(0, 0);
}

std::int64_t release(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  const std::optional<std::int64_t> id = in.bigint();
  if (!id) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "hold must not be null");
  const std::string reason = reason_argument(in);
  const Rows found =
      bookkeep("SELECT target::oid, target_name, released_by FROM dbops.legal_hold WHERE hold_id = $1::bigint"
               " FOR UPDATE",
               {to_text(*id)});
  if (found.empty())
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "hold " + to_text(*id) + " does not exist",
                   "See dbops.holds for those there are.");
  require_responsible(static_cast<Oid>(found.integer(0, 0)), found.text(0, 1));
  if (!found.is_null(0, 2))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "hold " + to_text(*id) + " has been released by " + found.text(0, 2) + " already");
  bookkeep("UPDATE dbops.legal_hold SET released_at = clock_timestamp(), released_by = $2, release_reason = $3"
           " WHERE hold_id = $1::bigint",
           {to_text(*id), role_name(GetUserId()), reason});
  return *id;
}

template <typename F>
Datum with_spi(FunctionCallInfo fcinfo, F body) {
  SpiConnection spi;
  const std::int64_t id = body(fcinfo);
  spi.close();
  return Int64GetDatum(id);
}

} // namespace

} // namespace dbops::server::lifecycle

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_hold) {
  return boundary([fcinfo] { return lifecycle::with_spi(fcinfo, lifecycle::place); });
}

DBOPS_SQL_FUNCTION(dbops_release) {
  return boundary([fcinfo] { return lifecycle::with_spi(fcinfo, lifecycle::release); });
}

DBOPS_SQL_FUNCTION(dbops_deletion_condition) {
  return boundary([fcinfo] {
    SpiConnection spi;
    Arguments in(fcinfo);
    const Oid relation = in.relation();
    const std::optional<std::string> alias = in.string();
    if (!alias) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "alias must not be null");
    lifecycle::begin_deleting();
    const std::string text = lifecycle::unheld(relation, quote_name(*alias));
    spi.close();
    return call_pg([&text] { return CStringGetTextDatum(text.c_str()); });
  });
}
