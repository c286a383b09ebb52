// The one exception type that core throws for what the outside world did. Programming errors stay std::logic_error.
#pragma once

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace dbops::core {

enum class ErrorKind {
  not_found,     // the store said authoritatively that it is not there
  conflict,      // the name is taken by other content
  access_denied, // wrong or missing permission or credentials
  configuration, // a setting, URL, file or argument is wrong
  unavailable,   // time-out, reset, 5xx, throttled: a later try may succeed
  cancelled,     // the caller asked to stop
  corrupt,       // bytes that do not match their own description
  key_missing,   // encrypted with a key that the key file does not have
  key_wrong,     // a key of that id is there, and does not open the object
  no_space,      // disk or quota full
  io,            // any other failure of the operating system
};

std::string_view to_string(ErrorKind kind) noexcept;

class Error : public std::runtime_error {
 public:
  // message: one sentence that names the object, without a secret. hint: what to do, may be empty.
  Error(ErrorKind kind, const std::string& message, std::string hint = {})
      : std::runtime_error(message), kind_(kind), hint_(std::move(hint)) {}

  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }

 private:
  ErrorKind kind_;
  std::string hint_;
};

// A failure that passes by itself: the same call may be made again after a pause.
class TransientError : public Error {
 public:
  // retry_after: what the other side asked for.
  explicit TransientError(const std::string& message, std::optional<std::chrono::milliseconds> retry_after = {})
      : Error(ErrorKind::unavailable, message), retry_after_(retry_after) {}
  [[nodiscard]] std::optional<std::chrono::milliseconds> retry_after() const noexcept { return retry_after_; }

 private:
  std::optional<std::chrono::milliseconds> retry_after_;
};

// An Error (no_space, access_denied, not_found, unavailable or io) from an errno value; `what` names the action and the
// object.
Error system_error(int error_number, std::string_view what);

} // namespace dbops::core
