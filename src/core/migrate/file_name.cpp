#include "core/migrate/file_name.h"

#include "core/migrate/callback.h"

#include <algorithm>
#include <utility>

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
  case NameProblem::absent_event:
    return "is a callback of an event that does not happen here";
  case NameProblem::unknown_event:
    return "is named like a callback, but there is no such event";
  }
  return "";
}

namespace {

ParsedName parse_stem(std::string_view name, const Naming& naming) {
  const std::optional<Prefix> prefix = find_prefix(name, naming);
  if (!prefix) return {std::nullopt, NameProblem::unknown_prefix, {}};
  name.remove_prefix(prefix->text.size());

  const std::size_t separator = naming.separator.empty() ? std::string_view::npos : name.find(naming.separator);
  const std::string_view before = name.substr(0, separator);
  FileName result;
  result.kind = prefix->kind;
  if (separator != std::string_view::npos) result.description = name.substr(separator + naming.separator.size());
  std::replace(result.description.begin(), result.description.end(), '_', ' ');

  if (prefix->kind == FileKind::repeatable || prefix->kind == FileKind::callback) {
    if (!before.empty()) return {std::nullopt, NameProblem::version_unasked, {}};
    if (prefix->kind == FileKind::repeatable && separator == std::string_view::npos)
      return {std::nullopt, NameProblem::no_separator, {}};
    if (prefix->kind == FileKind::callback) result.event = prefix->text;
    return {std::move(result), {}, {}};
  }
  if (before.empty()) return {std::nullopt, NameProblem::no_version, {}};
  result.version = Version::parse(before);
  if (!result.version) return {std::nullopt, NameProblem::not_a_version, {}};
  return {std::move(result), {}, {}};
}

} // namespace

ParsedName parse_file_name(std::string_view file, const Naming& naming) {
  const auto suffix = std::find_if(naming.suffixes.begin(), naming.suffixes.end(),
                                   [file](const std::string& s) { return ends_with_any_case(file, s); });
  if (suffix == naming.suffixes.end()) return {};
  const std::string_view stem = file.substr(0, file.size() - suffix->size());
  ParsedName parsed = parse_stem(stem, naming);
  if (parsed.name) return parsed;
  const std::string_view event =
      stem.substr(0, naming.separator.empty() ? std::string_view::npos : stem.find(naming.separator));
  const EventMistake mistake = event_mistake(event);
  if (mistake == EventMistake::none) return parsed;
  return {std::nullopt, mistake == EventMistake::absent ? NameProblem::absent_event : NameProblem::unknown_event,
          std::string(event)};
}

} // namespace dbops::core::migrate
