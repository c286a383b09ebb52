// Callbacks that are executed with a migration, in its transactions: beforeEachMigrate and its like.
#pragma once

#include "server/migration/script.h"

#include <deque>

namespace dbops::server::migration {

enum class Moment { before, before_statement, after_statement, after };

class Callbacks {
 public:
  Callbacks() = default;
  // [{"event": "beforeEachMigrate", "script": "...", "sql": "..."}, ...], in their order. Raises 22023, and
  // ScriptError's 42601 and 0A000 with the script's name.
  explicit Callbacks(const std::string& json);

  [[nodiscard]] bool any(Moment moment) const;
  // One of them sets what names without a schema stand for.
  [[nodiscard]] bool move_names() const;
  // As the current user, in the current transaction. Errors name the callback and the place in it.
  void run(Moment moment) const;
  // Raises 0A000 when one of them has a setting that would not reach the statements of a migration that is not one
  // transaction.
  void require_no_setting() const;

 private:
  struct Callback {
    Moment moment{};
    std::string script, text;
    std::vector<ScriptStatement> statements; // of text
  };
  std::deque<Callback> callbacks_; // they stay where they are
};

} // namespace dbops::server::migration
