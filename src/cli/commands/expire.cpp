#include "cli/commands/expire.h"

#include "cli/background.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/repository.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "core/backup/expire.h"
#include "core/backup/expire_dumps.h"
#include "core/base/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cstdio>

namespace dbops::cli {

namespace {

void print_json(const core::ExpireResult& result, const core::ExpiredDumps& dumps, bool dry_run) {
  Json object = {{"dry_run", dry_run}, {"backups", Json::array()}};
  for (const core::RetentionDecision& decision : result.plan.decisions)
    object["backups"].push_back({{"label", decision.label}, {"keep", decision.keep()}, {"reasons", decision.reasons}});
  object["dumps"] = Json::array();
  for (const core::DumpDecision& decision : dumps.decisions)
    object["dumps"].push_back({{"label", decision.label},
                               {"database", decision.database},
                               {"keep", !decision.reasons.empty()},
                               {"reasons", decision.reasons}});
  object["wal_from"] = core::to_string(result.plan.wal_from);
  object["removed"] = {{"backups", result.backups},
                       {"unfinished", result.unfinished},
                       {"packs", result.packs},
                       {"pack_bytes", result.pack_bytes},
                       {"wal_objects", result.wal_objects},
                       {"wal_bytes", result.wal_bytes},
                       {"dumps", dumps.dumps},
                       {"unfinished_dumps", dumps.unfinished},
                       {"dump_bytes", dumps.bytes}};
  write_to_standard_output(dumped(object) + "\n");
}

void print_text(const core::ExpireResult& result, const core::ExpiredDumps& dumps, bool dry_run) {
  std::string text;
  for (const core::RetentionDecision& decision : result.plan.decisions)
    text += decision.keep() ? fmt::format("keep    {}  {}\n", decision.label, fmt::join(decision.reasons, ", "))
                            : fmt::format("remove  {}  no rule keeps it\n", decision.label);
  for (const core::DumpDecision& decision : dumps.decisions)
    text += fmt::format(
        "{:<8}dump {} of \"{}\"  {}\n", decision.reasons.empty() ? "remove" : "keep", decision.label, decision.database,
        decision.reasons.empty() ? "no rule keeps it" : fmt::format("{}", fmt::join(decision.reasons, ", ")));
  if (dumps.dumps + dumps.unfinished > 0)
    text += fmt::format("{}: {} dumps ({}), {} unfinished ones\n", dry_run ? "would be removed" : "removed",
                        dumps.dumps, size_text(dumps.bytes), dumps.unfinished);
  text += fmt::format("{}: {} backups, {} unfinished ones, {} packs ({}), {} objects of WAL before {} ({})\n",
                      dry_run ? "would be removed" : "removed", result.backups, result.unfinished, result.packs,
                      size_text(result.pack_bytes), result.wal_objects, core::to_string(result.plan.wal_from),
                      size_text(result.wal_bytes));
  write_to_standard_output(text);
}

} // namespace

std::optional<std::chrono::seconds> parse_window(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0 || value > 100000) return {};
  std::string_view unit(end, std::size_t(text.data() + text.size() - end));
  while (unit.starts_with(' '))
    unit.remove_prefix(1);
  for (const auto& [name, seconds] : {std::pair<std::string_view, std::int64_t>{"h", 3600},
                                      {"hour", 3600},
                                      {"hours", 3600},
                                      {"d", 86400},
                                      {"day", 86400},
                                      {"days", 86400},
                                      {"w", 604800},
                                      {"week", 604800},
                                      {"weeks", 604800}})
    if (unit == name) return std::chrono::seconds(value * seconds);
  return {};
}

int run(const ExpireCommand& command) {
  core::RetentionRules rules = command.rules;
  if (!command.pitr_window.empty()) rules.pitr_window = parse_window(command.pitr_window);
  if (!rules.any())
    throw core::Error(core::ErrorKind::configuration, "no rule says what is to be kept",
                      "Give --keep-last, --keep-daily, --keep-weekly, --keep-monthly, --keep-yearly or --pitr-window.");
  Repository repository(command.stores, {});
  core::ExpireResult result;
  core::ExpiredDumps dumps;
  try {
    run_in_background(
        [&](const std::stop_token& stop) {
          const core::CallContext context{.stop = stop, .deadline = {}};
          result = core::expire(repository.get(), rules, command.dry_run, {}, context);
          dumps = core::expire_dumps(repository.get(), rules, command.dry_run, {}, context);
        },
        std::chrono::seconds(10), [] { fmt::print(stderr, "dbops expire: at work\n"); });
  } catch (const Interrupted& signal) {
    fmt::print(stderr, "dbops expire: interrupted; the same command goes on from here\n");
    return signal.exit_status();
  }
  if (command.json)
    print_json(result, dumps, command.dry_run);
  else
    print_text(result, dumps, command.dry_run);
  return exit_success;
}

} // namespace dbops::cli
