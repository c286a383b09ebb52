#include "core/migrate/liquibase.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/migrate/checksum.h"

namespace dbops::core::migrate {

namespace {

bool is_space(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front()))
    text.remove_prefix(1);
  while (!text.empty() && is_space(text.back()))
    text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

// What stands behind "--" at the start of a line.
std::optional<std::string_view> comment_of(std::string_view line) {
  line = trimmed(line);
  if (!line.starts_with("--")) return std::nullopt;
  return trimmed(line.substr(2));
}

struct Reading {
  std::vector<Changeset> done;
  std::optional<Changeset> now;
  bool readable = true; // of the one that is being read

  void end() {
    if (now && readable && !now->text.empty()) done.push_back(*std::move(now));
    now.reset();
  }

  // "author:id attribute:value ..."
  void begin(std::string_view rest) {
    end();
    rest = trimmed(rest);
    const std::size_t colon = rest.find(':');
    const std::string_view id = colon == std::string_view::npos ? "" : rest.substr(colon + 1);
    now.emplace();
    now->author = rest.substr(0, colon);
    now->id = id.substr(0, static_cast<std::size_t>(std::find_if(id.begin(), id.end(), is_space) - id.begin()));
    readable = !now->id.empty() && (now->author + now->id).find_first_of("\"'") == std::string::npos;
  }

  void add(std::string_view line) {
    if (!now) return;
    if (line.find("${") != std::string_view::npos || lower(line).find("liquibase") != std::string::npos)
      readable = false;
    if (line.find("/*") != std::string_view::npos || line.find("--") != std::string_view::npos) now->certain = false;
    std::copy_if(line.begin(), line.end(), std::back_inserter(now->text), [](char c) { return !is_space(c); });
  }
};

} // namespace

std::vector<Changeset> read_changelog(std::string_view text) {
  text = without_bom(text);
  Reading reading;
  bool formatted = false;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto comment = comment_of(line);
    const std::string words = comment ? lower(*comment) : "";
    if (!formatted) {
      if (trimmed(line).empty()) continue;
      if (!words.starts_with("liquibase formatted sql")) return {};
      formatted = true;
      continue;
    }
    const auto is = [&words](std::string_view start) { return words.starts_with(start); };
    if (is("property") || is("ignore")) return {};
    if (is("changeset ") || is("changeset\t"))
      reading.begin(comment->substr(std::string_view("changeset").size()));
    else if (is("rollback "))
      continue; // no part of the checksum
    else if (is("precondition") || is("comment") || is("validchecksum")) {
      if (reading.now) reading.now->certain = false; // no part of it either, if that is what the word means
    } else
      reading.add(line);
  }
  reading.end();
  return std::move(reading.done);
}

} // namespace dbops::core::migrate
