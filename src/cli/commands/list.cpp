#include "cli/commands/list.h"

#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/repository.h"
#include "cli/terminal.h"
#include "core/backup/catalogue_cache.h"
#include "core/backup/recovery_window.h"
#include "core/base/error.h"
#include "core/text/line.h"
#include "core/text/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace dbops::cli {

namespace {

using core::Align;

constexpr unsigned readers = 32; // requests at a time: small objects, so that the time is that of the way

struct Listing {
  std::vector<core::CatalogueEntry> backups;
  core::Proofs proofs;
  core::Pins pins;
  core::WallTime now;
};

Listing read(const core::BackupRepository& repository) {
  core::CatalogueCache cache;
  core::BackupCatalogue catalogue = cache.all(repository, readers, {});
  return {.backups = std::move(catalogue.backups),
          .proofs = core::proofs_of(catalogue.drills, catalogue.verifications),
          .pins = std::move(catalogue.pins),
          .now = repository.clock.wall_now()};
}

Json time_or_null(const std::map<std::string, core::WallTime>& times, const std::string& label) {
  const auto time = core::time_in(times, label);
  return time ? Json(core::iso8601_basic(*time)) : Json();
}

const char* state_of(const core::CatalogueEntry& entry, const core::Proofs& proofs) {
  if (entry.key_problem) return "no key";
  if (!entry.problem.empty()) return "unreadable";
  if (!entry.head) return "unfinished";
  if (proofs.damaged.contains(entry.label)) return "damaged";
  return entry.head->damaged_blocks > 0 ? "corrupt pages" : "ok";
}

std::string problem_of(const core::CatalogueEntry& entry, const core::Proofs& proofs) {
  const auto damage = proofs.damaged.find(entry.label);
  return entry.problem.empty() && damage != proofs.damaged.end() ? core::describe(damage->second) : entry.problem;
}

Json as_json(const core::CatalogueEntry& entry, const Listing& listing) {
  Json object = {{"label", entry.label}, {"state", state_of(entry, listing.proofs)}};
  if (const std::string problem = problem_of(entry, listing.proofs); !problem.empty()) object["problem"] = problem;
  if (!entry.head) return object;
  const core::BackupHead& head = *entry.head;
  object["user_label"] = head.user_label;
  object["base"] = head.base;
  object["started"] = core::iso8601_basic(head.started);
  object["finished"] = core::iso8601_basic(head.finished);
  object["timeline"] = head.timeline;
  object["start_lsn"] = core::to_string(head.start_lsn);
  object["stop_lsn"] = core::to_string(head.stop_lsn);
  object["server_version"] = head.server_version;
  object["files"] = head.files;
  object["bytes"] = head.bytes;
  object["new_blocks"] = head.new_blocks;
  object["new_bytes"] = head.new_bytes;
  object["stored_bytes"] = head.stored_bytes;
  object["damaged_blocks"] = head.damaged_blocks;
  object["annotations"] = head.annotations;
  object["tablespaces"] = Json::array();
  for (const core::TablespaceInfo& space : head.tablespaces)
    object["tablespaces"].push_back({{"oid", space.oid}, {"location", space.location}});
  object["verified_at"] = time_or_null(listing.proofs.verified, entry.label);
  object["deeply_verified_at"] = time_or_null(listing.proofs.verified_deep, entry.label);
  object["drilled_at"] = time_or_null(listing.proofs.drilled, entry.label);
  const auto pinned = core::held_by(listing.pins, entry.label, listing.now);
  object["pinned"] = pinned.has_value();
  object["pin_reason"] = pinned ? Json(*pinned) : Json();
  return object;
}

// What was proved of it, in a word: "drilled", "read", "looked at".
const char* proof_of(const core::CatalogueEntry& entry, const core::Proofs& proofs) {
  if (proofs.drilled.contains(entry.label)) return "drilled";
  if (proofs.verified_deep.contains(entry.label)) return "read";
  return proofs.verified.contains(entry.label) ? "looked at" : "";
}

core::Table as_table(const Listing& listing, core::Charset charset) {
  core::Table table({{"backup"},
                     {"complete at"},
                     {"took", Align::right},
                     {"size", Align::right},
                     {"new", Align::right},
                     {"TLI", Align::right},
                     {"reaches from"},
                     {"state"},
                     {"proved"},
                     {"pinned"},
                     {"label", Align::left, true}});
  for (const core::CatalogueEntry& entry : listing.backups) {
    const std::string state = state_of(entry, listing.proofs);
    const auto style = state == "ok"           ? core::Style::good
                       : state == "unfinished" ? core::Style::plain
                                               : core::Style::bad;
    if (!entry.head) {
      table.add_row({{entry.label},
                     {},
                     {},
                     {},
                     {},
                     {},
                     {},
                     {state, style},
                     {},
                     {},
                     {core::terminal_text(entry.problem, charset)}});
      continue;
    }
    const core::BackupHead& head = *entry.head;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(head.finished - head.started).count();
    table.add_row(
        {{entry.label, core::Style::strong},
         {time_text(head.finished)},
         {fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)},
         {size_text(head.bytes)},
         {size_text(head.new_bytes)},
         {std::to_string(head.timeline)},
         {core::to_string(head.stop_lsn)},
         {state, style},
         {proof_of(entry, listing.proofs)},
         {core::held_by(listing.pins, entry.label, listing.now) ? "yes" : ""},
         {core::terminal_text(state == "damaged" ? problem_of(entry, listing.proofs) : head.user_label, charset)}});
  }
  return table;
}

Json as_json(const core::RecoveryWindow& window) {
  return {{"timeline", window.timeline},
          {"from_time", core::iso8601_basic(window.from_time)},
          {"to_time", window.to_time ? Json(core::iso8601_basic(*window.to_time)) : Json()},
          {"from_lsn", core::to_string(window.from)},
          {"to_lsn", core::to_string(window.to)},
          {"backups", window.backups},
          {"first_backup", window.first_backup},
          {"last_backup", window.last_backup},
          {"gap_until", window.gap_until == 0 ? Json() : Json(core::to_string(window.gap_until))}};
}

core::Table as_table(const std::vector<core::RecoveryWindow>& windows) {
  core::Table table({{"TLI", Align::right},
                     {"from"},
                     {"to"},
                     {"from LSN"},
                     {"to LSN"},
                     {"backups", Align::right},
                     {"WAL is missing until"}});
  for (const core::RecoveryWindow& window : windows)
    table.add_row({{std::to_string(window.timeline)},
                   {time_text(window.from_time)},
                   {window.to_time ? time_text(*window.to_time) : std::string()},
                   {core::to_string(window.from)},
                   {core::to_string(window.to)},
                   {std::to_string(window.backups)},
                   {window.gap_until == 0 ? std::string() : core::to_string(window.gap_until)}});
  return table;
}

template <class Item, class Convert>
void print_json(const std::vector<Item>& items, const Convert& convert) {
  std::string text = "[";
  for (const Item& item : items)
    text.append(text.size() == 1 ? "\n" : ",\n").append(dumped(convert(item)));
  write_to_standard_output(text + (items.empty() ? "]\n" : "\n]\n"));
}

int list_windows(const Repository& repository, bool json) {
  core::CatalogueCache cache;
  const auto backups = cache.backups(repository.get(), readers, {});
  core::require_keys(backups);
  const auto newest =
      std::find_if(backups.rbegin(), backups.rend(), [](const auto& entry) { return entry.head.has_value(); });
  std::vector<core::RecoveryWindow> windows;
  if (newest != backups.rend())
    windows =
        core::read_recovery_windows(repository.get(), backups, core::SegmentSize(newest->head->wal_segment_size), {});
  const Terminal terminal = Terminal::of_standard_output();
  if (json)
    print_json(windows, [](const core::RecoveryWindow& window) { return as_json(window); });
  else if (windows.empty())
    fmt::print(stderr, "dbops: no backup in {} leads anywhere\n", repository.store().describe());
  else
    print(terminal, as_table(windows).lines(terminal.width(), terminal.charset));
  return exit_success;
}

} // namespace

int run(const ListCommand& command) {
  const Repository repository(command.stores, {});
  if (command.windows) return list_windows(repository, command.json);
  const Listing listing = read(repository.get());
  const std::vector<core::CatalogueEntry>& catalogue = listing.backups;
  if (command.json) {
    print_json(catalogue, [&](const core::CatalogueEntry& entry) { return as_json(entry, listing); });
    core::require_keys(catalogue);
    return exit_success;
  }
  const Terminal terminal = Terminal::of_standard_output();
  if (catalogue.empty())
    fmt::print(stderr, "dbops: no backup in {}\n", repository.store().describe());
  else
    print(terminal, as_table(listing, terminal.data_charset()).lines(terminal.width(), terminal.charset));
  core::require_keys(catalogue); // one error for all of them, below what can be read
  return exit_success;
}

} // namespace dbops::cli
