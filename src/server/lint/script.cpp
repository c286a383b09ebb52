#include "server/lint/script.h"

#include <algorithm>
#include <cctype>

extern "C" {
#include "catalog/pg_class.h"
}

namespace dbops::server::lint {

Finding& Script::about(const Table& table, const char* rule, Severity severity, std::string message, const char* lock) {
  Finding& finding = say(rule, severity, std::move(message));
  finding.object = table.name;
  finding.lock = lock;
  finding.bytes = table.bytes;
  if (table.bytes < options_.small_bytes && severity != Severity::notice) {
    finding.severity = Severity::notice;
    finding.message += "; the table is small (" + pretty_bytes(table.bytes) + ")";
  }
  return finding;
}

Finding& Script::fails(const Table& table, const char* rule, std::string message) {
  if (!defines) return about(table, rule, Severity::error, std::move(message));
  return about(table, rule, Severity::warning,
               std::move(message) + "; perhaps not, as what the script has changed before is not known");
}

Finding& Script::say(const char* rule, Severity severity, std::string message) {
  Finding finding;
  finding.rule = rule;
  finding.severity = severity;
  finding.message = std::move(message);
  return findings_.emplace_back(std::move(finding));
}

void Script::created(const RangeVar* name) {
  if (name->relpersistence == RELPERSISTENCE_TEMP) temporary_.insert(name->relname);
}

bool Script::is_new(const RangeVar* name) {
  if (is_temporary(name)) return true;
  const Table& table = catalog.table(name);
  return !table.exists() || gone_.contains(table.oid);
}

void Script::locked(const Table& table, const char* mode, const char* what) {
  needs_lock_timeout = true;
  if (std::find(strong_tables.begin(), strong_tables.end(), table.name) == strong_tables.end()) {
    strong_tables.push_back(table.name);
    if (strong_tables.size() == 2)
      about(table, "several-tables-locked", Severity::warning,
            std::string(what) + " locks a second table (" + mode + ") while " + first_strong_lock +
                " is locked: who takes them in the other order is in a deadlock, and both queue up",
            mode);
  }
  if (first_strong_lock.empty()) first_strong_lock = table.name;
}

void Script::transaction_ends() {
  explicit_transaction = false;
  first_strong_lock.clear();
  strong_tables.clear();
  altered_tables.clear();
  not_valid.clear();
  enum_values.clear();
}

std::string with_word_after(const std::string& text, const std::string& word, const std::string& added) {
  bool quote = false;
  for (std::size_t i = 0; i + word.size() <= text.size(); ++i) {
    if (text[i] == '"' || text[i] == '\'') quote = !quote;
    if (quote) continue;
    const bool starts = i == 0 || (std::isalnum(static_cast<unsigned char>(text[i - 1])) == 0 && text[i - 1] != '_');
    const bool ends =
        i + word.size() == text.size() ||
        (std::isalnum(static_cast<unsigned char>(text[i + word.size()])) == 0 && text[i + word.size()] != '_');
    if (starts && ends &&
        std::equal(word.begin(), word.end(), text.begin() + static_cast<std::ptrdiff_t>(i), [](char a, char b) {
          return std::toupper(static_cast<unsigned char>(a)) == std::toupper(static_cast<unsigned char>(b));
        }))
      return text.substr(0, i + word.size()) + " " + added + text.substr(i + word.size());
  }
  return {};
}

std::string quoted(const char* name) {
  return name == nullptr ? std::string() : quote_name(name);
}

std::string pretty_bytes(std::int64_t bytes) {
  const char* const units[]{"bytes", "kB", "MB", "GB", "TB"};
  int unit = 0;
  auto size = static_cast<double>(bytes);
  for (; size >= 1024 && unit < 4; ++unit)
    size /= 1024;
  const std::string number =
      unit == 0 ? std::to_string(bytes) : std::to_string(static_cast<std::int64_t>(size * 10 + 0.5) / 10);
  return number + " " + units[unit];
}

} // namespace dbops::server::lint
