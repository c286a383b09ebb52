// Where the two error worlds meet (DESIGN.md, section 2). A PostgreSQL ERROR is a longjmp, a C++ exception unwinds.
//   call_pg(fn)   C++ calls PostgreSQL: an ERROR comes out as SqlError. Nothing with a destructor lives inside fn.
//   boundary(fn)  PostgreSQL calls C++: whatever fn throws leaves as an ereport(ERROR), after the catch block has
//   ended.
// After call_pg has thrown, the transaction is broken: let the exception travel to the place that rolls it back.
#pragma once

#include <csetjmp>

#include "server/pg.h"

namespace dbops::server {

// An error with all that a client sees of it. Thrown by call_pg for PostgreSQL's errors and by dbops for its own.
struct SqlError : std::exception {
  int code = ERRCODE_INTERNAL_ERROR; // packed SQLSTATE (MAKE_SQLSTATE)
  std::string message;
  std::string detail;
  std::string hint;
  std::string context;
  int position =
      0; // of the error in `query` or, when that is empty, in the text that was being parsed; characters from 1
  std::string query; // the text that SPI was given

  SqlError() = default;
  SqlError(int code_, std::string message_, std::string hint_ = {}, std::string detail_ = {})
      : code(code_), message(std::move(message_)), detail(std::move(detail_)), hint(std::move(hint_)) {}
  [[nodiscard]] const char* what() const noexcept override { return message.c_str(); }
  [[nodiscard]] std::string sqlstate() const;
};

// Inside a catch block: throws the current exception on. What the C++ library has thrown (bad_alloc, an exception of
// nlohmann-json) goes on as an SqlError, so that it is handled, recorded and shown like any other.
[[noreturn]] void rethrow_as_sql_error();

namespace detail {

// Saves what an ERROR unwinds by hand, and puts it back when the frame ends, however it ends.
struct JumpFrame {
  sigjmp_buf buffer;
  sigjmp_buf* const saved_stack = PG_exception_stack;
  ErrorContextCallback* const saved_context = error_context_stack;
  const MemoryContext saved_memory = CurrentMemoryContext;
  JumpFrame() noexcept = default; // the buffer is filled by sigsetjmp
  JumpFrame(const JumpFrame&) = delete;
  JumpFrame& operator=(const JumpFrame&) = delete;
  ~JumpFrame() { restore(); }
  void restore() const noexcept {
    PG_exception_stack = saved_stack;
    error_context_stack = saved_context;
  }
};

// Takes the error off PostgreSQL's error stack and throws it.
[[noreturn]] void throw_current_error(MemoryContext memory);

// Plain data, so that nothing leaks when ereport jumps out of the frame that holds it. The texts are palloc'ed, or
// null when memory was short.
struct ErrorRecord {
  int code;
  const char* message;
  const char* detail;
  const char* hint;
  const char* context;
};
// Call inside a catch block: says what the current exception is. Never throws, never raises.
ErrorRecord describe_current_exception() noexcept;
[[noreturn]] void raise(const ErrorRecord& record);

} // namespace detail

template <typename F>
auto call_pg(F&& fn) -> std::invoke_result_t<F&> {
  using Result = std::invoke_result_t<F&>;
  static_assert(std::is_void_v<Result> || std::is_trivially_copyable_v<Result>,
                "a longjmp may pass here: return plain data");
  detail::JumpFrame frame;
  if (sigsetjmp(frame.buffer, 0) == 0) {
    PG_exception_stack = &frame.buffer;
    return fn();
  }
  frame.restore();
  detail::throw_current_error(frame.saved_memory);
}

template <typename F>
auto boundary(F&& fn) -> std::invoke_result_t<F&> {
  detail::ErrorRecord record;
  try {
    return fn();
  } catch (...) {
    record = detail::describe_current_exception();
  }
  detail::raise(record);
}

} // namespace dbops::server
