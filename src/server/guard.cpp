#include "server/guard.h"

#include <new>

namespace dbops::server {

std::string SqlError::sqlstate() const {
  std::string text(5, '0');
  int rest = code;
  for (char& c : text) {
    c = static_cast<char>(PGUNSIXBIT(rest));
    rest >>= 6;
  }
  return text;
}

void rethrow_as_sql_error() {
  try {
    throw;
  } catch (const SqlError&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw SqlError(ERRCODE_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    throw SqlError(ERRCODE_INTERNAL_ERROR, error.what());
  }
}

namespace detail {

namespace {

// Copies for a record: no ERROR when memory is short, because it runs inside a catch block.
const char* keep(const char* text, std::size_t length) noexcept {
  if (length == 0) return nullptr;
  auto* copy = static_cast<char*>(MemoryContextAllocExtended(CurrentMemoryContext, length + 1, MCXT_ALLOC_NO_OOM));
  if (copy == nullptr) return nullptr;
  std::copy(text, text + length, copy);
  copy[length] = '\0';
  return copy;
}

const char* keep(const std::string& text) noexcept {
  return keep(text.data(), text.size());
}

std::string text_or_empty(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

} // namespace

void throw_current_error(MemoryContext memory) {
  MemoryContextSwitchTo(memory);
  ErrorData* data = CopyErrorData();
  FlushErrorState();
  SqlError error;
  error.code = data->sqlerrcode;
  error.message = text_or_empty(data->message);
  error.detail = text_or_empty(data->detail);
  error.hint = text_or_empty(data->hint);
  error.context = text_or_empty(data->context);
  error.position = data->internalpos > 0 ? data->internalpos : data->cursorpos;
  error.query = text_or_empty(data->internalquery);
  FreeErrorData(data);
  throw error;
}

ErrorRecord describe_current_exception() noexcept {
  ErrorRecord record{ERRCODE_INTERNAL_ERROR, nullptr, nullptr, nullptr, nullptr};
  try {
    throw;
  } catch (const SqlError& error) {
    record = {error.code, keep(error.message), keep(error.detail), keep(error.hint), keep(error.context)};
  } catch (const std::bad_alloc&) {
    record.code = ERRCODE_OUT_OF_MEMORY;
    record.message = "out of memory";
  } catch (const std::exception& error) {
    record.message = keep(error.what(), std::char_traits<char>::length(error.what()));
  } catch (...) {
    record.message = "unknown C++ exception";
  }
  return record;
}

void raise(const ErrorRecord& record) {
  ereport(ERROR,
          (errcode(record.code), errmsg_internal("%s", record.message ? record.message : "unknown error"),
           record.detail ? errdetail_internal("%s", record.detail) : 0, record.hint ? errhint("%s", record.hint) : 0,
           record.context ? errcontext_msg("%s", record.context) : 0));
  pg_unreachable();
}

} // namespace detail

} // namespace dbops::server
