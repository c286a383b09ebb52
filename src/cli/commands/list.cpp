#include "cli/commands/list.h"

#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/repository.h"
#include "cli/terminal.h"
#include "core/backup/catalogue.h"
#include "core/base/error.h"
#include "core/text/line.h"
#include "core/text/table.h"

#include <fmt/format.h>

#include <cstdio>

namespace dbops::cli {

namespace {

using core::Align;

const char* state_of(const core::CatalogueEntry& entry) {
  if (!entry.problem.empty()) return "unreadable";
  if (!entry.head) return "unfinished";
  return entry.head->damaged_blocks > 0 ? "corrupt pages" : "ok";
}

Json as_json(const core::CatalogueEntry& entry) {
  Json object = {{"label", entry.label}, {"state", state_of(entry)}};
  if (!entry.problem.empty()) object["problem"] = entry.problem;
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
  return object;
}

core::Table as_table(const std::vector<core::CatalogueEntry>& catalogue, core::Charset charset) {
  core::Table table({{"backup"},
                     {"complete at"},
                     {"took", Align::right},
                     {"size", Align::right},
                     {"new", Align::right},
                     {"TLI", Align::right},
                     {"reaches from"},
                     {"state"},
                     {"label", Align::left, true}});
  for (const core::CatalogueEntry& entry : catalogue) {
    const std::string state = state_of(entry);
    const auto style = state == "ok"           ? core::Style::good
                       : state == "unfinished" ? core::Style::plain
                                               : core::Style::bad;
    if (!entry.head) {
      table.add_row(
          {{entry.label}, {}, {}, {}, {}, {}, {}, {state, style}, {core::terminal_text(entry.problem, charset)}});
      continue;
    }
    const core::BackupHead& head = *entry.head;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(head.finished - head.started).count();
    table.add_row({{entry.label, core::Style::strong},
                   {time_text(head.finished)},
                   {fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)},
                   {size_text(head.bytes)},
                   {size_text(head.new_bytes)},
                   {std::to_string(head.timeline)},
                   {core::to_string(head.stop_lsn)},
                   {state, style},
                   {core::terminal_text(head.user_label, charset)}});
  }
  return table;
}

} // namespace

int run(const ListCommand& command) {
  const Repository repository(command.stores, {});
  const auto catalogue = core::read_catalogue(repository.get(), 8, {});
  if (command.json) {
    std::string text = "[";
    for (const core::CatalogueEntry& entry : catalogue)
      text.append(text.size() == 1 ? "\n" : ",\n").append(dumped(as_json(entry)));
    write_to_standard_output(text + (catalogue.empty() ? "]\n" : "\n]\n"));
    return exit_success;
  }
  const Terminal terminal = Terminal::of_standard_output();
  if (catalogue.empty())
    fmt::print(stderr, "dbops: no backup in {}\n", repository.store().describe());
  else
    print(terminal, as_table(catalogue, terminal.data_charset()).lines(terminal.width(), terminal.charset));
  return exit_success;
}

} // namespace dbops::cli
