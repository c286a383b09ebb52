# Build, install and test dbops.
#
#   make && make install         the extension and the command line, for the server of $(PG_CONFIG)
#   make demo                    the main job on a private server, with data and load (see README.md)
#   make test                    every test; installs Debian packages first when run as root
#   make test-majors             the server tests on PostgreSQL 17 and 18, in debootstrap folders
#   make bench                   beside what you would use instead; prints ratios
#   make lint                    clang-format and clang-tidy
#
# PG_CONFIG, CXX and PREFIX (for bin/dbops, default /usr/local) may be set.

PG_CONFIG ?= pg_config

include sources.mk

EXTENSION = dbops
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" dbops.control)
EXTENSION_SQL := dbops--$(EXTVERSION).sql

# Targets that work on a machine without a server installed.
.PHONY: demo test test-majors bench lint cli setup
all: $(EXTENSION_SQL)

setup:
	test/setup/packages.sh
demo:
	test/setup/packages.sh server
	test/demo/demo.sh
test:
	test/setup/packages.sh
	test/run-tests.sh
test-majors:
	test/majors/run.sh
bench:
	test/setup/packages.sh server s3 bench
	test/bench/run.sh
lint:
	test/lint.sh

ifneq ($(shell command -v $(PG_CONFIG) 2>/dev/null),)
MODULE_big = dbops
OBJS = $(CORE_SOURCES:.cpp=.o) $(SERVER_SOURCES:.cpp=.o)
DATA_built = $(EXTENSION_SQL)

# Each SQL function and worker main is exported by name; nothing else leaves the module.
# PostgreSQL's headers are system headers here: their warnings are not ours.
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server) \
	-D'PGDLLEXPORT=__attribute__((visibility("default")))'
# Of a compiler's own: headers of PostgreSQL up to 16 use volatile as C does, and its build has options of gcc alone.
ITS_WARNINGS = $(if $(findstring clang,$(shell $(CXX) --version)),-Wno-deprecated-volatile -Wno-unknown-warning-option,-Wno-volatile)
PG_CXXFLAGS = -D'DBOPS_VERSION="$(EXTVERSION)"' -std=gnu++20 -Wall -Wextra -Werror $(ITS_WARNINGS) -fvisibility=hidden -fvisibility-inlines-hidden \
	-fno-strict-aliasing -fwrapv -MMD -MP
SHLIB_LINK = -lstdc++ -lcurl -lcrypto -lzstd -lpthread -Wl,--exclude-libs,ALL
EXTRA_CLEAN = $(OBJS:.o=.d) build/cli dbops--*.sql

PGXS := $(shell $(PG_CONFIG) --pgxs)
# Bitcode serves only the inlining of SQL functions, and its rule ignores PG_CXXFLAGS.
override with_llvm = no
include $(PGXS)
-include $(OBJS:.o=.d)
$(shlib): sources.mk # also when nothing is to be compiled: a source less

PREFIX ?= /usr/local
CLI_LIBS ?= -lcurl -lcrypto -lzstd -lpthread
# What the module has of core is compiled once, and linked into both.
CLI_OBJS = $(patsubst %.cpp,build/cli/%.o,$(CLI_SOURCES) $(CORE_TOOL_SOURCES)) $(CORE_SOURCES:.cpp=.o)
CLI_CXXFLAGS = -std=gnu++20 -O2 -g -Wall -Wextra -Werror -MMD -MP -Isrc -isystem $(shell $(PG_CONFIG) --includedir) \
	-D'DBOPS_VERSION="$(EXTVERSION)"'

all: cli
cli: build/cli/dbops
build/cli/dbops: $(CLI_OBJS) sources.mk
	$(CXX) $(CXXFLAGS_EXTRA) -o $@ $(CLI_OBJS) -L$(shell $(PG_CONFIG) --libdir) -lpq -lfmt $(CLI_LIBS)
build/cli/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CLI_CXXFLAGS) $(CXXFLAGS_EXTRA) -c -o $@ $<
build/cli/src/cli/command_line.o src/server/archive/checks.o: dbops.control # for DBOPS_VERSION
-include $(CLI_OBJS:.o=.d)

install: install-cli
install-cli: cli
	$(MKDIR_P) '$(DESTDIR)$(PREFIX)/bin'
	$(INSTALL_PROGRAM) build/cli/dbops '$(DESTDIR)$(PREFIX)/bin/dbops'
uninstall: uninstall-cli
uninstall-cli:
	rm -f '$(DESTDIR)$(PREFIX)/bin/dbops'
.PHONY: install-cli uninstall-cli
endif

$(EXTENSION_SQL): $(SCHEMA_SOURCES) sources.mk
	cat $(SCHEMA_SOURCES) > $@
