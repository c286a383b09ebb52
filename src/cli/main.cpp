// The `dbops` command.
#include "cli/command_line.h"
#include "cli/exit_status.h"
#include "cli/report.h"

#include <clocale>
#include <exception>

int main(int count, char** arguments) {
  using namespace dbops::cli;
  // Not LC_NUMERIC: numbers go to programs as well as to people.
  std::setlocale(LC_CTYPE, "");
  std::setlocale(LC_MESSAGES, "");
  try {
    const auto parsed = parse_command_line(count, arguments);
    if (const int* status = std::get_if<int>(&parsed)) return *status;
    const auto& line = std::get<CommandLine>(parsed);
    return std::visit(
        [&line](const auto& command) {
          if constexpr (requires { run(command, line.connection); })
            return run(command, line.connection);
          else
            return run(command); // without a server
        },
        line.command);
  } catch (const std::exception& failure) {
    report(failure);
    return usage_status(count, arguments);
  }
}
