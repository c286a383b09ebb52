# The one list of sources: read by the PGXS Makefile and by CMakeLists.txt.
# Format: one variable an artefact, one file a line, paths from the top of the tree.

# Core that the server module links. No PostgreSQL header may be reachable from it.
CORE_SOURCES = \
	src/core/job/batch_controller.cpp \
	src/core/job/duration_histogram.cpp \
	src/core/job/error_class.cpp \
	src/core/job/lag_estimator.cpp \
	src/core/job/state.cpp \
	src/core/job/throttle.cpp \
	src/core/schedule/window.cpp

# Core that only the command line links for now.
CORE_TOOL_SOURCES =

SERVER_SOURCES = \
	src/server/module.cpp

CLI_SOURCES = \
	src/cli/main.cpp

# In the order in which they are joined into dbops--VERSION.sql.
SCHEMA_SOURCES = \
	src/schema/preamble.sql \
	src/schema/engine.sql \
	src/schema/backfill.sql
