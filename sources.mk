# The one list of sources: read by the PGXS Makefile and by CMakeLists.txt.
# Format: one variable an artefact, one file a line, paths from the top of the tree.

# Core that the server module links. No PostgreSQL header may be reachable from it.
CORE_SOURCES = \
	src/core/base/bytes.cpp \
	src/core/base/clock.cpp \
	src/core/base/error.cpp \
	src/core/base/file.cpp \
	src/core/base/log.cpp \
	src/core/base/printable.cpp \
	src/core/base/random.cpp \
	src/core/base/signal_mask.cpp \
	src/core/base/thread_pool.cpp \
	src/core/codec/zstd.cpp \
	src/core/crypto/aead.cpp \
	src/core/crypto/hash.cpp \
	src/core/crypto/key_file.cpp \
	src/core/crypto/random.cpp \
	src/core/crypto/secret.cpp \
	src/core/http/curl_client.cpp \
	src/core/http/http.cpp \
	src/core/job/batch_controller.cpp \
	src/core/job/duration_histogram.cpp \
	src/core/job/error_class.cpp \
	src/core/job/lag_estimator.cpp \
	src/core/job/state.cpp \
	src/core/job/throttle.cpp \
	src/core/schedule/cron_expression.cpp \
	src/core/schedule/planner.cpp \
	src/core/schedule/schedule.cpp \
	src/core/migrate/checksum.cpp \
	src/core/migrate/file_name.cpp \
	src/core/migrate/placeholder.cpp \
	src/core/migrate/plan.cpp \
	src/core/migrate/statement.cpp \
	src/core/migrate/version.cpp \
	src/core/schedule/window.cpp \
	src/core/store/credentials.cpp \
	src/core/store/file_store.cpp \
	src/core/store/local_credentials.cpp \
	src/core/store/object_store.cpp \
	src/core/store/open_store.cpp \
	src/core/store/remote_credentials.cpp \
	src/core/store/retry.cpp \
	src/core/store/s3_client.cpp \
	src/core/store/s3_error.cpp \
	src/core/store/s3_list.cpp \
	src/core/store/s3_multipart.cpp \
	src/core/store/s3_store.cpp \
	src/core/store/sigv4.cpp \
	src/core/store/store_url.cpp \
	src/core/store/xml.cpp \
	src/core/text/json_text.cpp \
	src/core/wal/archive_pipeline.cpp \
	src/core/wal/catalogue.cpp \
	src/core/wal/chunk_schedule.cpp \
	src/core/wal/fence.cpp \
	src/core/wal/instance.cpp \
	src/core/wal/layout.cpp \
	src/core/wal/object_decoder.cpp \
	src/core/wal/object_encoder.cpp \
	src/core/wal/object_format.cpp \
	src/core/wal/offsite_backlog.cpp \
	src/core/wal/page_header.cpp \
	src/core/wal/ready_files.cpp \
	src/core/wal/repository.cpp \
	src/core/wal/restore_plan.cpp \
	src/core/wal/segment.cpp \
	src/core/wal/timeline_history.cpp \
	src/core/wal/wal_reader.cpp \
	src/core/wal/wal_shipper.cpp \
	src/core/wal/wal_writer.cpp \
	src/core/wal/watermark.cpp

# Core that only the command line and the tests link.
CORE_TOOL_SOURCES = \
	src/core/store/memory_store.cpp \
	src/core/text/bar.cpp \
	src/core/text/change_filter.cpp \
	src/core/text/columns.cpp \
	src/core/text/job_view.cpp \
	src/core/text/line.cpp \
	src/core/text/live_view.cpp \
	src/core/text/quantity.cpp \
	src/core/text/table.cpp \
	src/core/wal/archive_reader.cpp \
	src/core/wal/cluster_identity.cpp \
	src/core/wal/prefetcher.cpp \
	src/core/wal/restore_file.cpp \
	src/core/wal/spool.cpp \
	src/core/wal/wal_fetch.cpp

SERVER_SOURCES = \
	src/server/guard.cpp \
	src/server/guc.cpp \
	src/server/module.cpp \
	src/server/archive/archive_module.cpp \
	src/server/archive/archiver.cpp \
	src/server/archive/catch_up.cpp \
	src/server/archive/checks.cpp \
	src/server/archive/commit_time.cpp \
	src/server/archive/functions.cpp \
	src/server/archive/settings.cpp \
	src/server/archive/shared.cpp \
	src/server/archive/status.cpp \
	src/server/archive/streamer.cpp \
	src/server/archive/threads.cpp \
	src/server/engine/bookkeeping.cpp \
	src/server/engine/control.cpp \
	src/server/engine/dispatch.cpp \
	src/server/engine/job_record.cpp \
	src/server/engine/launcher.cpp \
	src/server/engine/run.cpp \
	src/server/engine/session.cpp \
	src/server/engine/shared.cpp \
	src/server/engine/signals.cpp \
	src/server/engine/sight.cpp \
	src/server/engine/toplevel.cpp \
	src/server/engine/wait.cpp \
	src/server/engine/wake.cpp \
	src/server/engine/window.cpp \
	src/server/engine/worker.cpp \
	src/server/engine/yield.cpp \
	src/server/backfill/batch.cpp \
	src/server/backfill/bisect.cpp \
	src/server/backfill/claim.cpp \
	src/server/backfill/create.cpp \
	src/server/backfill/deadlock_watch.cpp \
	src/server/backfill/early_flush.cpp \
	src/server/backfill/input.cpp \
	src/server/backfill/pace.cpp \
	src/server/backfill/spec.cpp \
	src/server/backfill/statement.cpp \
	src/server/backfill/stripe.cpp \
	src/server/backfill/table.cpp \
	src/server/backfill/trigger_filter.cpp \
	src/server/backfill/unit.cpp \
	src/server/backfill/work.cpp \
	src/server/schedule/capture.cpp \
	src/server/schedule/command.cpp \
	src/server/schedule/create.cpp \
	src/server/schedule/next_runs.cpp \
	src/server/schedule/record.cpp \
	src/server/schedule/runs.cpp \
	src/server/schedule/spec.cpp \
	src/server/schedule/work.cpp \
	src/server/schedule/zone.cpp \
	src/server/migration/apply.cpp \
	src/server/migration/copy.cpp \
	src/server/migration/execute.cpp \
	src/server/migration/history.cpp \
	src/server/migration/manage.cpp \
	src/server/migration/messages.cpp \
	src/server/migration/recovery.cpp \
	src/server/migration/script.cpp \
	src/server/migration/steps.cpp \
	src/server/lint/alter_table.cpp \
	src/server/lint/catalog.cpp \
	src/server/lint/lint.cpp \
	src/server/lint/script.cpp \
	src/server/lint/statements.cpp

CLI_SOURCES = \
	src/cli/command_line.cpp \
	src/cli/commands/check.cpp \
	src/cli/commands/jobs.cpp \
	src/cli/commands/wal_get.cpp \
	src/cli/commands/wal_list.cpp \
	src/cli/commands/wal_prefetch.cpp \
	src/cli/commands/watch.cpp \
	src/cli/connection.cpp \
	src/cli/json.cpp \
	src/cli/local_time.cpp \
	src/cli/main.cpp \
	src/cli/password.cpp \
	src/cli/progress_source.cpp \
	src/cli/recovery_process.cpp \
	src/cli/report.cpp \
	src/cli/signals.cpp \
	src/cli/stores.cpp \
	src/cli/terminal.cpp \
	src/cli/watch_display.cpp \
	src/cli/commands/migrate.cpp \
	src/cli/migration_files.cpp \
	src/cli/migration_options.cpp \
	src/cli/migration_runner.cpp \
	src/cli/commands/lint.cpp

# In the order in which they are joined into dbops--VERSION.sql.
SCHEMA_SOURCES = \
	src/schema/preamble.sql \
	src/schema/engine.sql \
	src/schema/backfill.sql \
	src/schema/schedule.sql \
	src/schema/archive.sql \
	src/schema/migration.sql \
	src/schema/lint.sql
