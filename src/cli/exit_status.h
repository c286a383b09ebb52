// What the command says to a shell.
#pragma once

namespace dbops::cli {

enum ExitStatus : int {
  exit_success = 0,
  exit_job = 1,        // a job failed, was cancelled, or could not be steered
  exit_error = 2,      // wrong usage, no connection, no extension
  exit_unfinished = 3, // watch --once: no job failed, and not all have finished
};

// Of wal-get. To PostgreSQL 1 to 125 means "there is no such file", at which recovery ends and the server is promoted;
// above that it is a failure, at which the server stops (xlogarchive.c, RestoreArchivedFile). 126 to 192 are what a
// shell makes of commands that it cannot run and of signals.
enum RestoreStatus : int {
  restore_done = 0,
  restore_absent = 1,          // every repository says that there is no such file
  restore_misconfigured = 200, // usage, settings, permission, credentials, keys: somebody has to act
  restore_unavailable = 201,   // a repository could not be asked until the time was up
  restore_gap = 202,           // WAL is missing, and there is later WAL
  restore_damaged = 203,       // no repository has an undamaged copy
  restore_local = 204,         // the file could not be written here
  restore_tablespace = 205,    // replay would write into files that are not this server's
};

} // namespace dbops::cli
