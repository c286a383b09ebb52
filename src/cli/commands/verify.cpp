#include "cli/commands/verify.h"

#include "cli/background.h"
#include "cli/exit_status.h"
#include "cli/json.h"
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
          result =
              core::verify(repository.get(), {.label = command.backup, .deep = command.deep, .threads = command.jobs},
                           progress, {}, {.stop = stop, .deadline = {}});
        },
        std::chrono::seconds(10),
        [&] {
          fmt::print(stderr, "dbops verify: {} of {} packs, {}\n", progress.packs.load(), progress.packs_total.load(),
                     size_text(progress.bytes));
        });
  } catch (const Interrupted& signal) {
    fmt::print(stderr, "dbops verify: interrupted\n");
    return signal.exit_status();
  }
  if (command.json) {
    Json object = {{"backups", result.backups},      {"packs", result.packs}, {"dumps", result.dumps},
                   {"bytes", progress.bytes.load()}, {"deep", command.deep},  {"damage", Json::array()}};
    for (const core::Damage& damage : result.damage)
      object["damage"].push_back({{"backup", damage.backup}, {"what", damage.what}});
    write_to_standard_output(dumped(object) + "\n");
  } else {
    std::string text;
    for (const core::Damage& damage : result.damage)
      text += fmt::format("{}: {}\n", damage.backup, damage.what);
    write_to_standard_output(text + fmt::format("{} backups, {} packs, {} dumps{}: {}\n", result.backups, result.packs,
                                                result.dumps, command.deep ? " read" : " looked at",
                                                result.damage.empty() ? "all is well" : "DAMAGED"));
  }
  return result.damage.empty() ? exit_success : exit_job;
}

} // namespace dbops::cli
