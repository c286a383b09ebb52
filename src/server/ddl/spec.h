// The arguments of an online DDL job, resolved: what dbops.job.spec holds. Its texts are the server's own, deparsed
// from what was parsed when the job was made, with all names qualified.
#pragma once

#include <nlohmann/json.hpp>

#include "server/engine/bookkeeping.h"

namespace dbops::server::ddl {

// An index that REINDEX is to replace: afterwards its name belongs to another one.
struct NamedIndex {
  Oid oid = InvalidOid;
  std::string name; // not quoted
};

struct Spec {
  std::string name;       // of the index or constraint, not quoted; of set_not_null the column
  bool unique = false;    // create_index, add_unique
  bool primary = false;   // add_unique: a primary key
  std::string definition; // "USING btree (a)", "CHECK ((a > 0))", "FOREIGN KEY (a) REFERENCES s.t(b)", "FOR VALUES ..."
  std::string clause;     // add_unique: "UNIQUE (a) DEFERRABLE"
  std::string deferral;   // " DEFERRABLE INITIALLY DEFERRED"
  std::string tablespace; // not quoted; empty: the default
  Oid other = InvalidOid; // add_foreign_key: the referenced table; attach_partition: the partition;
                          // validate_constraint: the constraint
  std::vector<NamedIndex> indexes; // reindex: which
  std::vector<Oid> before;         // reindex: all indexes of the table when the job was made
  std::int64_t of = 0;             // clean_up: the job whose leftovers are to go
  int lock_timeout_ms = 2'000;
  std::optional<double> give_up_after; // seconds of waiting for one lock
  std::string windows;                 // empty: any time; read by JobWindow
  std::string timezone;
};

nlohmann::json to_json(const Spec& spec);
Spec from_json(const nlohmann::json& json);

// Whether jobs of that kind are online DDL.
bool is_ddl(const std::string& kind);

} // namespace dbops::server::ddl
