#include "cli/commands/verify.h"

#include "cli/background.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/progress_line.h"
#include "cli/repository.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "core/backup/verify.h"

#include <fmt/format.h>

#include <cstdio>

namespace dbops::cli {

int run(const VerifyCommand& command) {
  Repository repository(command.stores, {});
  core::VerifyProgress progress;
  core::VerifyResult result;
  try {
    run_in_background(
        [&](const std::stop_token& stop) {
          result = core::verify(repository.get(),
                                {.label = command.backup,
                                 .deep = command.deep,
                                 .threads = command.jobs,
                                 .restart = command.restart,
                                 .gap_time = std::chrono::milliseconds(std::int64_t(command.gap_time * 1000))},
                                progress, {}, {.stop = stop, .deadline = {}});
        },
        progress_interval(),
        [&] {
          const std::uint64_t packs = progress.packs, total = progress.packs_total, wal = progress.wal_objects;
          show_progress(
              "dbops verify", wal > 0 ? std::nullopt : fraction_of(packs, total),
              fmt::format("{} of {} packs, {} objects of WAL, {}", packs, total, wal, size_text(progress.bytes)));
        });
  } catch (const Interrupted& signal) {
    tell("dbops verify", command.deep ? "interrupted; the same command goes on from here" : "interrupted");
    return signal.exit_status();
  }
  if (command.json) {
    Json object = {{"backups", result.backups},      {"packs", result.packs},
                   {"dumps", result.dumps},          {"wal_objects", progress.wal_objects.load()},
                   {"bytes", progress.bytes.load()}, {"deep", command.deep},
                   {"resumed", result.resumed},      {"damage", Json::array()}};
    for (const core::Damage& damage : result.damage)
      object["damage"].push_back({{"backup", damage.backup}, {"what", damage.what}});
    write_to_standard_output(dumped(object) + "\n");
  } else {
    std::string text;
    if (result.resumed > 0) text += fmt::format("{} objects were read before it was interrupted\n", result.resumed);
    for (const core::Damage& damage : result.damage)
      text += fmt::format("{}: {}\n", damage.backup, damage.what);
    const std::string wal = command.deep ? fmt::format(", {} objects of WAL", progress.wal_objects.load()) : "";
    write_to_standard_output(text + fmt::format("{} backups, {} packs, {} dumps{}{}: {}\n", result.backups,
                                                result.packs, result.dumps, wal, command.deep ? " read" : " looked at",
                                                result.damage.empty() ? "all is well" : "DAMAGED"));
  }
  return result.damage.empty() ? exit_success : exit_job;
}

} // namespace dbops::cli
