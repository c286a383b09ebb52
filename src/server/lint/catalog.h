// What the linter asks the live catalog. Nothing here takes a lock on a table that outlives the call.
#pragma once

#include <unordered_map>

#include "server/engine/bookkeeping.h"

extern "C" {
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
}

namespace dbops::server::lint {

struct Table {
  Oid oid = InvalidOid;   // invalid: not there
  char kind = 0;          // pg_class.relkind
  std::string name;       // schema.table, quoted
  std::int64_t bytes = 0; // with indexes, TOAST, partitions
  [[nodiscard]] bool exists() const { return OidIsValid(oid); }
};

class Catalog {
 public:
  // By the session's search_path; one that is not there has exists() false and the name that was written.
  const Table& table(const RangeVar* name);
  // Is there a valid CHECK (column IS NOT NULL), alone or among ANDs?
  [[nodiscard]] static bool has_not_null_check(Oid table, const std::string& column);
  [[nodiscard]] static bool column_is_not_null(Oid table, const std::string& column);
  [[nodiscard]] static bool column_exists(Oid table, const std::string& column);
  // Validity of an index by its name in the table's schema; nothing when there is none.
  [[nodiscard]] static std::optional<bool> index_is_valid(Oid table, const std::string& index);
  [[nodiscard]] static bool has_usable_unique_index(Oid matview); // for REFRESH ... CONCURRENTLY
  // Is there a valid index, not partial, that begins with these columns?
  [[nodiscard]] static bool has_index_on(Oid table, const std::vector<std::string>& columns);
  [[nodiscard]] static std::vector<std::string> referencing_tables(Oid table); // by foreign keys, without itself
  [[nodiscard]] static std::vector<std::string> leaf_partitions(Oid table);
  [[nodiscard]] static std::string default_partition(Oid table);
  // Views, policies, ...: names, and the OID of what is a relation.
  [[nodiscard]] static std::vector<std::pair<Oid, std::string>> dependents_of_column(Oid table,
                                                                                     const std::string& column);
  [[nodiscard]] static std::vector<std::string> tables_of_domain(List* name);
  [[nodiscard]] static std::string foreign_key_parent(Oid table, const std::string& constraint);
  // What would have to move along to a column that takes its place.
  struct ColumnUse {
    bool not_null = false;
    std::string default_expression; // as SQL; empty: none
    std::string sequence;           // that it owns, quoted; empty: none
  };
  [[nodiscard]] static ColumnUse use_of_column(Oid table, const std::string& column);
  [[nodiscard]] static bool has_checks_on(Oid table, const std::string& column);
  [[nodiscard]] static bool is_published(Oid table);

 private:
  std::unordered_map<std::string, Table> known_; // by the name that was written
};

// Does a change of columns rewrite the table? Found by making it on an empty copy of the definition, which is rolled
// back. Calls no function of a role that is neither the caller nor a superuser.
struct ShadowVerdict {
  bool made = false;     // false: it cannot be tried (privileges, standby, code of others), `error` says why
  bool ran = false;      // false: the change failed, `error` says how
  bool rewrites = false; // the table is written anew
  int indexes = 0;       // that are built anew although the table is not
  std::string error;
};
// statement: ALTER TABLE, of which only commands that change columns are left.
ShadowVerdict try_on_shadow(const Table& table, const std::string& text, AlterTableStmt* statement);

// What ATTACH PARTITION has to read, by the constraints that are valid; all that there is when that cannot be told.
// Calls no function of others either.
struct AttachVerdict {
  bool partition = true;
  bool rest = true; // the default partition
};
// other: the default partition, or none.
AttachVerdict try_attach(Oid parent, Oid partition, Oid other, PartitionBoundSpec* bounds);

} // namespace dbops::server::lint
