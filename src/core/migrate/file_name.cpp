#include "core/migrate/file_name.h"

#include <algorithm>

namespace dbops::core::migrate {

namespace {

// ASCII alone: what else a suffix may have must be written as it is.
bool same_letter(char left, char right) noexcept {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return lower(left) == lower(right);
}

bool ends_with_any_case(std::string_view text, std::string_view end) {
  return text.size() >= end.size() &&
         std::equal(end.begin(), end.end(), text.end() - static_cast<std::ptrdiff_t>(end.size()), same_letter);
}

struct Prefix {
  std::string_view text;
  FileKind kind;
};

// The longest one that fits: "beforeMigrate" is a callback even if "b" is the prefix of versioned migrations.
std::optional<Prefix> find_prefix(std::string_view name, const Naming& naming) {
  std::vector<Prefix> prefixes{{naming.versioned, FileKind::versioned},
                               {naming.undo, FileKind::undo},
                               {naming.repeatable, FileKind::repeatable},
                               {naming.baseline, FileKind::baseline}};
  for (const std::string_view event : callback_events())
    prefixes.push_back({event, FileKind::callback});
  std::optional<Prefix> best;
  for (const Prefix& prefix : prefixes)
    if (!prefix.text.empty() && name.starts_with(prefix.text) && (!best || prefix.text.size() > best->text.size()))
      best = prefix;
  return best;
}

} // namespace

bool ByUtf16::operator()(std::string_view left, std::string_view right) const noexcept {
  // Characters above U+FFFF (four bytes, the first one from 0xf0) are surrogates there, which are below U+E000 (0xee).
  const auto order = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0xf0 ? byte - 2 : byte >= 0xee ? byte + 5 : +byte;
  };
  return std::lexicographical_compare(left.begin(), left.end(), right.begin(), right.end(),
                                      [order](char a, char b) { return order(a) < order(b); });
}

const std::vector<std::string_view>& callback_events() {
  static const std::vector<std::string_view> events{
      "beforeMigrate",    "afterMigrate",          "afterMigrateApplied", "afterMigrateError", "beforeEachMigrate",
      "afterEachMigrate", "afterEachMigrateError", "beforeRepeatables",   "afterVersioned",    "beforeValidate",
      "afterValidate",    "afterValidateError",    "beforeUndo",          "afterUndo",         "afterUndoError",
      "beforeEachUndo",   "afterEachUndo",         "afterEachUndoError",  "beforeBaseline",    "afterBaseline",
      "beforeRepair",     "afterRepair",           "beforeInfo",          "afterInfo"};
  return events;
}

std::string_view to_string(NameProblem problem) noexcept {
  switch (problem) {
  case NameProblem::other_suffix:
    return "not a migration: its suffix is another one";
  case NameProblem::unknown_prefix:
    return "its prefix is none of a migration or callback";
  case NameProblem::no_version:
    return "has no version before the separator";
  case NameProblem::not_a_version:
    return "what stands between prefix and separator is not a version";
  case NameProblem::no_separator:
    return "has no separator before a description, which a repeatable migration needs";
  case NameProblem::version_unasked:
    return "has something between prefix and separator, where a repeatable migration or callback has nothing";
  }
  return "";
}

ParsedName parse_file_name(std::string_view file, const Naming& naming) {
  const auto suffix = std::find_if(naming.suffixes.begin(), naming.suffixes.end(),
                                   [file](const std::string& s) { return ends_with_any_case(file, s); });
  if (suffix == naming.suffixes.end()) return {std::nullopt, NameProblem::other_suffix};
  std::string_view name = file.substr(0, file.size() - suffix->size());
  const std::optional<Prefix> prefix = find_prefix(name, naming);
  if (!prefix) return {std::nullopt, NameProblem::unknown_prefix};
  name.remove_prefix(prefix->text.size());

  const std::size_t separator = naming.separator.empty() ? std::string_view::npos : name.find(naming.separator);
  const std::string_view before = name.substr(0, separator);
  FileName result;
  result.kind = prefix->kind;
  if (separator != std::string_view::npos) result.description = name.substr(separator + naming.separator.size());
  std::replace(result.description.begin(), result.description.end(), '_', ' ');

  if (prefix->kind == FileKind::repeatable || prefix->kind == FileKind::callback) {
    if (!before.empty()) return {std::nullopt, NameProblem::version_unasked};
    if (prefix->kind == FileKind::repeatable && separator == std::string_view::npos)
      return {std::nullopt, NameProblem::no_separator};
    if (prefix->kind == FileKind::callback) result.event = prefix->text;
    return {result, {}};
  }
  if (before.empty()) return {std::nullopt, NameProblem::no_version};
  result.version = Version::parse(before);
  if (!result.version) return {std::nullopt, NameProblem::not_a_version};
  return {result, {}};
}

} // namespace dbops::core::migrate
