// ${name} in migration files.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace dbops::core::migrate {

// Names without regard to the case of ASCII letters.
struct AnyCase {
  bool operator()(const std::string& left, const std::string& right) const noexcept;
};
using Placeholders = std::map<std::string, std::string, AnyCase>;

// What was wrong, where.
struct UnknownPlaceholder {
  std::size_t position = 0; // byte offset
  std::string name;         // without prefix and suffix
};

// Replaces ${name} everywhere, in comments and texts too, as Flyway does. Values are not looked at again. In $${ there
// is no placeholder, but in $$${ there is: Flyway reads a $ and what follows it together, and so it is in its
// checksums. Nothing when a name has no value or no }: the first one is in `unknown` then.
std::optional<std::string> replace_placeholders(std::string_view text, const Placeholders& values,
                                                UnknownPlaceholder& unknown);

} // namespace dbops::core::migrate
