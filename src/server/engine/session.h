// The one place where the engine's transactions begin and end, the same for a background worker and for CALL
// dbops.run().
#pragma once

#include "server/guard.h"
#include "server/pg.h"

extern "C" {
#include "utils/resowner.h"
}

namespace dbops::server {

class Session {
 public:
  virtual ~Session() = default;
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Runs body in a transaction of its own with a connection of SPI and an active snapshot. Commits; on an exception
  // rolls back and lets it go on (a std::exception as an SqlError). Between two of them no snapshot and no transaction
  // id is held.
  template <typename F>
  auto transaction(F&& body) -> std::invoke_result_t<F&> {
    begin();
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
        body();
        commit();
      } else {
        auto result = body();
        commit();
        return result;
      }
    } catch (...) {
      rollback();
      rethrow_as_sql_error();
    }
  }

  // Can a statement that must not be in a transaction block (VACUUM) be run between transactions?
  [[nodiscard]] virtual bool top_level() const noexcept = 0;
  [[nodiscard]] virtual const char* mode() const noexcept = 0; // dbops.job_run.mode

 private:
  virtual void begin() = 0;
  virtual void commit() = 0;
  virtual void rollback() noexcept = 0;
};

// In a background worker: transactions of its own.
class WorkerSession final : public Session {
 public:
  [[nodiscard]] bool top_level() const noexcept override { return true; }
  [[nodiscard]] const char* mode() const noexcept override { return "worker"; }

 private:
  void begin() override;
  void commit() override;
  void rollback() noexcept override;
};

// Inside a procedure that was called outside of a transaction block: a subtransaction for each body, so that an error
// can be survived, and SPI_commit after it. Needs the non-atomic SPI connection that the procedure has opened.
class ProcedureSession final : public Session {
 public:
  [[nodiscard]] bool top_level() const noexcept override { return false; }
  [[nodiscard]] const char* mode() const noexcept override { return "session"; }

 private:
  void begin() override;
  void commit() override;
  void rollback() noexcept override;
  MemoryContext memory_ = nullptr;
  ResourceOwner owner_ = nullptr;
};

} // namespace dbops::server
