// Reading and evaluating the condition of a legal hold.
#pragma once

#include "server/engine/bookkeeping.h"

extern "C" {
#include "nodes/execnodes.h"
}

namespace dbops::server::lifecycle {

struct Hold {
  std::int64_t id = 0;
  Oid target = InvalidOid;
  std::optional<std::string> condition; // nothing: all rows
  Settings settings;                    // of the session that placed it: what the condition's texts mean
  std::string reason;
};

// Raises what is wrong with a condition: more than one expression (42601), what the parser finds, a subquery, a
// function that is not IMMUTABLE or not a superuser's, a domain, a system column (22023). It is evaluated by whoever
// deletes, at any time: so it has to mean the same for all, and must not run code that a user has written.
void check_hold_condition(Oid relation, const Hold& hold);

// Holds, ready to be evaluated on rows of a relation's row type.
class HoldTest {
 public:
  // Allocates in `memory`, which has to live as long. Raises when a condition cannot be read any more.
  HoldTest(Oid row_of, std::vector<Hold> holds, MemoryContext memory);
  HoldTest(const HoldTest&) = delete;
  HoldTest& operator=(const HoldTest&) = delete;
  ~HoldTest() = default; // with its memory

  // The first hold that the row is under; nothing when none.
  [[nodiscard]] const Hold* held_by(HeapTuple row) const;

 private:
  std::vector<Hold> holds_;
  std::vector<ExprState*> tests_; // null: all rows
  TupleTableSlot* slot_ = nullptr;
  ExprContext* context_ = nullptr;
};

} // namespace dbops::server::lifecycle
