// The differences between PostgreSQL 15, 16, 17 and 18 that dbops meets. The only file with PG_VERSION_NUM in it.
#pragma once

#include "server/pg.h"

extern "C" {
#include "access/genam.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute_d.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_database_d.h"
#include "catalog/pg_extension_d.h"
#include "catalog/pg_proc_d.h"
#include "nodes/nodeFuncs.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/relcache.h"
}

#if PG_VERSION_NUM >= 180000
extern "C" {
#include "rewrite/rewriteHandler.h"
}
#endif
#if PG_VERSION_NUM >= 160000
extern "C" {
#include "archive/archive_module.h"
}
#else
extern "C" {
#include "postmaster/pgarch.h"
PGDLLEXPORT void _PG_archive_module_init(ArchiveModuleCallbacks* callbacks);
}
#endif

#if PG_VERSION_NUM < 150000
#error "dbops needs PostgreSQL 15 or later"
#endif

namespace dbops::server::compat {

inline bool owns_database(Oid database, Oid role) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(DatabaseRelationId, database, role);
#else
  return pg_database_ownercheck(database, role);
#endif
}

inline bool owns_extension(Oid extension, Oid role) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(ExtensionRelationId, extension, role);
#else
  return pg_extension_ownercheck(extension, role);
#endif
}

inline bool owns_relation(Oid relation, Oid role) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(RelationRelationId, relation, role);
#else
  return pg_class_ownercheck(relation, role);
#endif
}

// May the one run SET ROLE to the other? From 16 on a membership can be granted without that.
inline bool may_become(Oid member, Oid role) {
#if PG_VERSION_NUM >= 160000
  return member_can_set_role(member, role);
#else
  return is_member_of_role(member, role);
#endif
}

// 18 has NOT NULL constraints that are NOT VALID: attnotnull is set, and there may be nulls.
inline bool has_no_nulls(TupleDesc columns, int index) {
#if PG_VERSION_NUM >= 180000
  return TupleDescCompactAttr(columns, index)->attnullability == ATTNULLABLE_VALID;
#else
  return TupleDescAttr(columns, index)->attnotnull;
#endif
}

// Columns whose change keeps an update from being HOT. 16 and later do not count BRIN.
inline Bitmapset* hot_blocking_columns(Relation relation) {
#if PG_VERSION_NUM >= 160000
  return RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_HOT_BLOCKING);
#else
  return RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_ALL);
#endif
}

// Whether a background worker may connect as a role without LOGIN; then the flag that says so.
#if PG_VERSION_NUM >= 170000
inline constexpr bool nologin_workers = true;
inline constexpr uint32 nologin_worker_flag = BGWORKER_BYPASS_ROLELOGINCHECK;
#else
inline constexpr bool nologin_workers = false;
inline constexpr uint32 nologin_worker_flag = 0;
#endif

// 18 wraps the list, for OLD and NEW.
template <typename DataStatement> // UpdateStmt, DeleteStmt
bool has_returning(const DataStatement* statement) {
#if PG_VERSION_NUM >= 180000
  return statement->returningClause != nullptr;
#else
  return statement->returningList != NIL;
#endif
}

// 18 has generated columns that are not stored.
inline bool is_virtual([[maybe_unused]] const Constraint* constraint) {
#if PG_VERSION_NUM >= 180000
  return constraint->generated_kind == ATTRIBUTE_GENERATED_VIRTUAL;
#else
  return false;
#endif
}

// ... which are not in the row: an expression over it, the only relation, computes them.
inline Node* expand_generated_columns(Node* expression, [[maybe_unused]] Relation relation) {
#if PG_VERSION_NUM >= 180000
  return expand_generated_columns_in_expr(expression, relation, 1);
#else
  return expression;
#endif
}

// JSON_VALUE, JSON_QUERY, JSON_EXISTS.
inline bool is_json_expression([[maybe_unused]] const Node* node) {
#if PG_VERSION_NUM >= 170000
  return IsA(node, JsonExpr);
#else
  return false;
#endif
}

inline bool holds_lock(const LOCKTAG& tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 170000
  return LockHeldByMe(&tag, mode, false);
#else
  return LockHeldByMe(&tag, mode);
#endif
}

// The ring of a process's locks in a partition of the lock table, each of them PROCLOCK::procLink. It ends where it
// began.
#if PG_VERSION_NUM >= 160000
inline const dlist_node* head_of_locks(const PGPROC* process, int partition) {
  return &process->myProcLocks[partition].head;
}
#else
inline const SHM_QUEUE* head_of_locks(const PGPROC* process, int partition) {
  return &process->myProcLocks[partition];
}
#endif

inline void no_transaction_timeout() {
#if PG_VERSION_NUM >= 170000
  SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

// The walkers of 15 are declared the way of old C, without parameters.
using TreeWalker = bool (*)(Node*, void*);
inline bool walk_expression(Node* node, TreeWalker walker, void* context) {
#if PG_VERSION_NUM >= 160000
  return expression_tree_walker(node, walker, context);
#else
  return expression_tree_walker(node, reinterpret_cast<bool (*)()>(reinterpret_cast<void*>(walker)), context);
#endif
}
inline bool walk_query(Query* query, TreeWalker walker, void* context) {
#if PG_VERSION_NUM >= 160000
  return query_tree_walker(query, walker, context, 0);
#else
  return query_tree_walker(query, reinterpret_cast<bool (*)()>(reinterpret_cast<void*>(walker)), context, 0);
#endif
}

// All of one top-level statement. 18 dropped the argument run_once.
inline void run_portal(Portal portal, DestReceiver* receiver, QueryCompletion* completion) {
#if PG_VERSION_NUM >= 180000
  PortalRun(portal, FETCH_ALL, true, receiver, receiver, completion);
#else
  PortalRun(portal, FETCH_ALL, true, true, receiver, receiver, completion);
#endif
}

// Safe in a signal handler.
inline void wake_wal_writer() {
#if PG_VERSION_NUM >= 180000
  const ProcNumber process = ProcGlobal->walwriterProc;
  if (process != INVALID_PROC_NUMBER) SetLatch(&GetPGProcByNumber(process)->procLatch);
#else
  Latch* latch = ProcGlobal->walwriterLatch;
  if (latch != nullptr) SetLatch(latch);
#endif
}

inline IndexScanDesc begin_index_scan(Relation table, Relation index, Snapshot snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
  return index_beginscan(table, index, snapshot, nullptr, keys, 0);
#else
  return index_beginscan(table, index, snapshot, keys, 0);
#endif
}

// A deferrable one counts as well; whoever needs an immediate one looks at pg_index.
inline Oid primary_key_index(Relation relation) {
#if PG_VERSION_NUM >= 180000
  return RelationGetPrimaryKeyIndex(relation, true);
#else
  return RelationGetPrimaryKeyIndex(relation);
#endif
}

// 17 shows the reason by itself, whenever it asks.
inline void explain_unconfigured_archive(const char* detail) {
#if PG_VERSION_NUM >= 170000
  arch_module_check_errdetail("%s", detail);
#else
  ereport(WARNING, (errmsg("dbops: nothing is archived"), errdetail_internal("%s", detail)));
#endif
}

} // namespace dbops::server::compat

// The archive module's entry point, from functions bool(), bool(const char* file) and void() that raise nothing.
// 15 fills a table that it is given; 16 and later are given one, and pass a state along.
#if PG_VERSION_NUM >= 160000
#define DBOPS_ARCHIVE_MODULE(is_configured, archive_file, shut_down)                                                   \
  const ArchiveModuleCallbacks* _PG_archive_module_init(void) {                                                        \
    static const ArchiveModuleCallbacks callbacks = {                                                                  \
        nullptr, [](ArchiveModuleState*) { return is_configured(); },                                                  \
        [](ArchiveModuleState*, const char* file, const char*) { return archive_file(file); },                         \
        [](ArchiveModuleState*) { shut_down(); }};                                                                     \
    return &callbacks;                                                                                                 \
  }
#else
#define DBOPS_ARCHIVE_MODULE(is_configured, archive_file, shut_down)                                                   \
  void _PG_archive_module_init(ArchiveModuleCallbacks* callbacks) {                                                    \
    callbacks->check_configured_cb = [] { return is_configured(); };                                                   \
    callbacks->archive_file_cb = [](const char* file, const char*) { return archive_file(file); };                     \
    callbacks->shutdown_cb = [] { shut_down(); };                                                                      \
  }
#endif
