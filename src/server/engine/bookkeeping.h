// The engine's own rows (dbops.job and its kin), read and written as the owner of the extension with a pinned
// search_path. No user's code runs in here: the tables have no triggers but dbops' own, the statements call nothing but
// pg_catalog.
#pragma once

#include "server/guard.h"
#include "server/pg.h"

extern "C" {
#include "access/xact.h"
#include "utils/resowner.h"
}

namespace dbops::server {

using Value = std::optional<std::string>;

// A result as text, the way the types' output functions write it.
class Rows {
 public:
  std::vector<std::vector<Value>> rows;
  std::uint64_t processed = 0;

  [[nodiscard]] bool empty() const noexcept { return rows.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return rows.size(); }
  [[nodiscard]] bool is_null(std::size_t row, std::size_t column) const { return !rows.at(row).at(column).has_value(); }
  [[nodiscard]] std::string text(std::size_t row, std::size_t column) const {
    return rows.at(row).at(column).value_or("");
  }
  [[nodiscard]] std::int64_t integer(std::size_t row, std::size_t column) const;
  [[nodiscard]] double real(std::size_t row, std::size_t column) const;
  [[nodiscard]] bool boolean(std::size_t row, std::size_t column) const { return text(row, column) == "t"; }
};

// A connection of SPI for the length of a SQL function. Inside a Session's transaction there is one already.
class SpiConnection {
 public:
  SpiConnection();
  ~SpiConnection() = default; // after an error the abort of the transaction closes it
  SpiConnection(const SpiConnection&) = delete;
  SpiConnection& operator=(const SpiConnection&) = delete;
  void close();
};

// Runs one statement as the extension's owner. Parameters are text; the statement casts them ($1::bigint). Plans are
// kept. Needs a transaction and a connection of SPI. Raises 55000 when the extension is not installed.
Rows bookkeep(const std::string& sql, const std::vector<Value>& parameters = {});

// The same for a question alone, answered by what is committed now, at any isolation level.
Rows bookkeep_latest(const std::string& sql, const std::vector<Value>& parameters = {});

// Runs one statement as the current user, in the session's own search_path: for texts of users alone.
Rows query(const std::string& sql, const std::vector<Value>& parameters = {});

// Runs one statement as the current user with a pinned search_path: dbops' own questions to the catalog.
Rows ask_catalog(const std::string& sql, const std::vector<Value>& parameters = {});

// Collects what SPI has just returned. For callers that execute plans of their own.
Rows take_result();

// Runs fn as another role under a security-restricted context; an exception leaves the role to the rollback that
// follows.
template <typename F>
auto as_role(Oid role, int security_flags, F&& fn) {
  Oid saved_role = InvalidOid;
  int saved_context = 0;
  GetUserIdAndSecContext(&saved_role, &saved_context);
  SetUserIdAndSecContext(role, saved_context | security_flags);
  if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
    fn();
    SetUserIdAndSecContext(saved_role, saved_context);
  } else {
    auto result = fn();
    SetUserIdAndSecContext(saved_role, saved_context);
    return result;
  }
}

// Runs fn in a savepoint: its error is rolled back to there before it goes on, so that the transaction can be gone on
// with.
template <typename F>
auto in_savepoint(F&& fn) {
  MemoryContext memory = CurrentMemoryContext;
  ResourceOwner owner = CurrentResourceOwner;
  call_pg([] { BeginInternalSubTransaction("dbops"); });
  MemoryContextSwitchTo(memory);
  try {
    auto result = fn();
    call_pg([] { ReleaseCurrentSubTransaction(); });
    MemoryContextSwitchTo(memory);
    CurrentResourceOwner = owner;
    return result;
  } catch (...) {
    call_pg([] { RollbackAndReleaseCurrentSubTransaction(); });
    MemoryContextSwitchTo(memory);
    CurrentResourceOwner = owner;
    throw;
  }
}

// A setting for a scope that ends in this transaction; an exception leaves it to the rollback.
using Settings = std::vector<std::pair<std::string, std::string>>;
int enter_settings(const Settings& settings); // returns the nest level
void leave_settings(int nest_level);
// Also takes back what code that ran inside has set: for code of another role than the session's.
void undo_settings(int nest_level);

// Waits for a lock in this transaction at most that long, then raises 55P03.
void lock_at_most(const char* time);

// COMMIT of this transaction does not wait for the disk: for what a crash may take back without harm.
void commit_without_waiting();

// Settings under which a value written as text reads back as the same value, in any session.
const Settings& canonical_text();

// pg_extension's OID of dbops in this database, or InvalidOid.
Oid extension_oid();
// pg_extension.extversion, empty when it is not there.
std::string extension_version();
Oid extension_owner();

std::string to_text(std::int64_t value);
inline std::string to_text(int value) {
  return to_text(static_cast<std::int64_t>(value));
}
inline std::string to_text(Oid value) {
  return to_text(static_cast<std::int64_t>(value));
}

// As the server quotes them.
std::string quote_name(const std::string& name);
std::string quote_text(const std::string& text);
// schema.table of a relation, quoted; empty when it is gone.
std::string qualified_name(Oid relation);
// The role's name, empty when it was dropped.
std::string role_name(Oid role);

} // namespace dbops::server
