// Who stands in the way of a lock, by name. Needs a transaction with SPI.
#pragma once

#include "server/ddl/step.h"

namespace dbops::server::ddl {

// Sessions and prepared transactions that hold a lock on one of the relations which conflicts with `lock`, of
// transactions older than that: "process 12 (role ann, application psql, since 12:00:01)"; empty when there are none.
// An autovacuum that gives way is none, nor is upkeep of dbops that does.
std::string holders(const std::vector<Oid>& relations, Lock lock, std::chrono::milliseconds older_than);

} // namespace dbops::server::ddl
