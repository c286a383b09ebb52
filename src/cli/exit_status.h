// What the command says to a shell.
#pragma once

namespace dbops::cli {

enum ExitStatus : int {
  exit_success = 0,
  exit_job = 1,        // a job failed, was cancelled, or could not be steered
  exit_error = 2,      // wrong usage, no connection, no extension
  exit_unfinished = 3, // watch --once: no job failed, and not all have finished
};

} // namespace dbops::cli
