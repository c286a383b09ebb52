#include "cli/commands/pin.h"

#include "cli/commands/expire.h"
#include "cli/exit_status.h"
#include "cli/repository.h"
#include "cli/terminal.h"
#include "core/backup/dump.h"
#include "core/backup/pins.h"
#include "core/base/error.h"

#include <fmt/format.h>

namespace dbops::cli {

namespace {

using core::Pinnable;

const char* name_of(Pinnable what) {
  return what == Pinnable::backup ? "backup" : "dump";
}

// Of both, when a backup and a dump were begun in the same second.
std::vector<Pinnable> found_as(const core::BackupRepository& repository, const std::string& label) {
  std::vector<Pinnable> found;
  if (core::is_backup_label(label)) {
    if (repository.store.head(repository.key(core::backup_head_key(label)), {})) found.push_back(Pinnable::backup);
    if (repository.store.head(repository.key(core::dump_head_key(label)), {})) found.push_back(Pinnable::dump);
  }
  if (found.empty())
    throw core::Error(core::ErrorKind::configuration,
                      fmt::format("the store has no finished backup or dump \"{}\"", label),
                      "\"dbops list\" and \"dbops dumps\" show what is there.");
  return found;
}

} // namespace

int run(const PinCommand& command) {
  Repository repository(command.stores, {});
  std::optional<core::WallTime> until;
  if (!command.hold_for.empty()) until = repository.clock().wall_now() + parse_window(command.hold_for).value();
  for (const std::string& label : command.labels)
    for (const Pinnable what : found_as(repository.get(), label)) {
      core::pin(repository.get(), what, label, command.reason, until, {});
      write_to_standard_output(
          fmt::format("{} {}: pinned{}\n", name_of(what), label, until ? " until " + time_text(*until) : ""));
    }
  return exit_success;
}

int run(const UnpinCommand& command) {
  Repository repository(command.stores, {});
  for (const std::string& label : command.labels)
    for (const Pinnable what : found_as(repository.get(), label))
      write_to_standard_output(fmt::format("{} {}: {} pins released\n", name_of(what), label,
                                           core::release_pins(repository.get(), what, label, {})));
  return exit_success;
}

} // namespace dbops::cli
