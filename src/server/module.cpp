// Start-up of the server module.

#include "server/archive/shared.h"
#include "server/archive/streamer.h"
#include "server/backfill/trigger_filter.h"
#include "server/engine/processes.h"
#include "server/engine/shared.h"
#include "server/engine/wake.h"
#include "server/engine/yield.h"
#include "server/guc.h"
#include "server/lifecycle/holds.h"
#include "server/migration/messages.h"
#include "server/pg.h"

extern "C" {
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
}

// Runs in the postmaster when preloaded: no thread, no library initialisation, no exception.
void _PG_init(void) {
  using namespace dbops::server;
  guc::define();
  install_commit_callback();
  install_trigger_filter();
  install_deletion_guard();
  migration::install_message_hook();
  if (!process_shared_preload_libraries_in_progress) return;
  install_shared_memory();
  archive::install_archive_memory();
  install_yield_hook();
  if (IsBinaryUpgrade) return;
  register_launcher();
  archive::register_streamer();
}
