// Text that must not reach a log: it has no conversion, no stream operator, and wipes its memory.
#pragma once

#include <string>
#include <utility>

namespace dbops::core {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  Secret(const Secret&) = default;
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret other) noexcept;
  ~Secret() { wipe(); }

  // The only way to the value: the call sites are few, and named so that a reviewer finds them.
  [[nodiscard]] const std::string& reveal() const noexcept { return value_; }
  [[nodiscard]] bool empty() const noexcept { return value_.empty(); }

 private:
  void wipe() noexcept;
  std::string value_;
};

} // namespace dbops::core
