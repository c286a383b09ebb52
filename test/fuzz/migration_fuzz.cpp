// Any bytes as a migration file, as its name and as a changelog of Liquibase: no crash, and the statements are parts of
// the file in its order.
#include "core/migrate/checksum.h"
#include "core/migrate/file_name.h"
#include "core/migrate/liquibase.h"
#include "core/migrate/placeholder.h"
#include "core/migrate/statement.h"

#include <cstdint>
#include <cstdlib>
#include <string>

using namespace dbops::core::migrate;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_split(std::string_view text, bool standard) {
  SplitError error;
  const auto found = split(text, standard, error);
  if (!found) {
    require(error.position <= text.size() && line_column(text, error.position).line >= 1);
    return;
  }
  std::size_t end = 0;
  for (const Statement& statement : *found) {
    require(statement.position >= end && !statement.text.empty());
    end = statement.position + statement.text.size();
    require(end <= text.size() && text.substr(statement.position, statement.text.size()) == statement.text);
    if (statement.data) end = static_cast<std::size_t>(statement.data->data() - text.data()) + statement.data->size();
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_split(text, true);
  check_split(text, false);
  std::string unix_text;
  for (const char c : text)
    unix_text += c == '\r' ? '\n' : c;
  require(line_checksum(text) == line_checksum(unix_text));
  if (const auto bad = invalid_utf8(text)) require(*bad < size);
  if (const auto parsed = parse_file_name(text, {}); parsed.name && parsed.name->version) {
    const auto again = Version::parse(parsed.name->version->text());
    require(again && *again == *parsed.name->version);
  }
  for (const Changeset& changeset : read_changelog("--liquibase formatted sql\n--changeset a:" + std::string(text)))
    require(!changeset.id.empty() && changeset.text.find_first_of(" \t\r\n") == std::string::npos);
  UnknownPlaceholder unknown;
  if (!replace_placeholders(text, {{"a", "b"}}, unknown)) require(unknown.position < size);
  return 0;
}
