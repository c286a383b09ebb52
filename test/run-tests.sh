#!/bin/bash
# run-tests.sh [PART [FILE...]]: all tests, or one of the parts purity, sanitizers (unit tests), store, format, fuzz, regress,
# isolation, tap; of the last three only the named files (with or without directory and ending). "servers" is those three;
# "unit" is the unit tests without sanitizers, which builds faster.
#
# The servers are private ones with dbops from a staging directory: nothing is installed. Started by root, they run as an
# unprivileged user. All that runs lives in a temporary directory that is removed at the end; what a failed test leaves to
# look at is kept in build/test-results.
#
# Environment: PG_CONFIG; CXX; JOBS (default: all processors); FUZZ_SECONDS (10 for each fuzzer); TAP_JOBS (4 files at
# once), TAP_TIMEOUT (1800 s a file), PG_TEST_TIMEOUT_DEFAULT (300 s for what a test waits for), PGCTLTIMEOUT (the same for a
# server); DBOPS_STAGE (a `make install DESTDIR=` to use instead of building one); DBOPS_PACKAGES=installed: those of
# test/setup are there, and what is skipped for the lack of one of them has failed.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
export PG_CONFIG=${PG_CONFIG:-pg_config}
JOBS=${JOBS:-$(nproc)}
FUZZ_SECONDS=${FUZZ_SECONDS:-10}
RESULTS=$ROOT/build/test-results
export PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-300} PGCTLTIMEOUT=${PGCTLTIMEOUT:-300}
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES PGHOST PGPORT PGUSER PGDATABASE PGDATA PGSERVICE PGOPTIONS PGPASSWORD
# shellcheck source=setup/workplace.sh
. "$ROOT/test/setup/workplace.sh"

note() { printf '\n== %s\n' "$*"; }
count() { echo "$1 $2" >>"$WORK/counts"; } # count PASSED FAILED
lacking() { # lacking REASON: the package without which tests are skipped for that reason, if it is one
  case $1 in
  *pgbouncer*) echo pgbouncer ;;
  *pg_cron*) echo postgresql-15-cron ;;
  *radosgw* | *"S3 server"*) echo radosgw ;;
  *IO::Pty*) echo libipc-run-perl ;; # which depends on it
  *clang++*) echo clang ;;
  esac
}
skipped() { # skipped NUMBER NAME REASON: neither passed nor failed, unless it should not have been
  local package
  package=$(lacking "$3")
  if [ "${DBOPS_PACKAGES:-}" = installed ] && [ -n "$package" ] && grep -qxF -e "$package" "$ROOT"/test/setup/packages-{server,tools,s3}.txt; then
    count 0 "$1"
    echo "FAILED  $2: skipped, although $package should be installed: $3"
  else
    echo "$1 $2: $3" >>"$WORK/skips"
  fi
}
one() { # one STATUS NAME
  if [ "$1" -eq 0 ]; then count 1 0; echo "ok      $2"; else count 0 1; echo "FAILED  $2"; fi
}
matches() { grep -cE "$1" "$2" || true; } # matches PATTERN FILE: how many lines
keep() { # keep PATH NAME: for the developer
  mkdir -p "$RESULTS"
  rm -rf "${RESULTS:?}/$2"
  cp -r "$1" "$RESULTS/$2"
}

# --- core ---------------------------------------------------------------------------------------------------------

# Neither core nor the command line may reach a header of the server; core not even libpq's.
purity() {
  note "purity of src/core and src/cli"
  local part forbidden status
  for part in core cli; do
    forbidden="^src/server/|^$("$PG_CONFIG" --includedir-server)/|/postgres(_fe)?\\.h\$"
    [ "$part" = cli ] || forbidden="$forbidden|^$("$PG_CONFIG" --includedir)/libpq|/pg_config"
    status=0
    (cd "$ROOT" && find "src/$part" -name '*.cpp' -o -name '*.h' | LC_ALL=C sort | xargs -d '\n' -P "$JOBS" -n 16 \
      "${CXX:-g++}" -std=gnu++20 -x c++ -Isrc -isystem "$("$PG_CONFIG" --includedir)" -M) >"$WORK/includes" || status=1
    if tr -s ' \\' '\n' <"$WORK/includes" | grep -E "$forbidden" | sort -u | grep .; then status=1; fi
    one $status "no header of PostgreSQL is reachable from src/$part"
  done
  clang_options
}

# The options of the module's build, as the other compiler takes them: on the file that has the least and includes the most.
clang_options() {
  local command status=0
  command -v clang++ >/dev/null || { skipped 1 purity "no clang++"; return 0; }
  command=$(make -s -n -B -C "$ROOT" CXX=clang++ src/server/module.o | grep -e '-o src/server/module.o')
  command=${command//-MMD -MP/}
  (cd "$ROOT" && sh -c "${command/-c -o src\/server\/module.o/-fsyntax-only}") || status=1
  one $status "clang takes the module and its options"
}

# cmake_build DIRECTORY TARGETS [CMAKE ARGUMENT...]
cmake_build() {
  local directory=$ROOT/build/$1 targets=$2
  shift 2
  cmake -S "$ROOT" -B "$directory" -G Ninja "$@" >"$WORK/cmake.log" 2>&1 || { cat "$WORK/cmake.log"; return 1; }
  # shellcheck disable=SC2086
  ninja -C "$directory" -j "$JOBS" --quiet $targets
}

# gtest_run NAME COMMAND...: from the work directory and without root's rights, which would hide errors of permission
gtest_run() {
  local name=$1 log=$WORK/$1.log status=0 ok bad skips lack
  shift
  (cd "$WORK/home" && as_user "$@" --gtest_color=no) >"$log" 2>&1 || status=$?
  ok=$(matches '^\[       OK \]' "$log")
  bad=$(matches '^\[  FAILED  \] .*\([0-9]+ ms\)$' "$log")
  if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi # it crashed
  count "$ok" "$bad"
  if [ "$bad" -ne 0 ]; then
    grep -vE '^\[(       OK |-+|=+)' "$log" | tail -n 100
    keep "$log" "$name.log"
  fi
  skips=$(matches '^\[  SKIPPED \] .*ms\)$' "$log")
  echo "$name: $ok ok, $bad failed, $skips skipped"
  lack=$(matches '^no S3 server$' "$log")
  [ "$lack" -eq 0 ] || skipped "$lack" "$name" "no S3 server"
  [ "$skips" -le "$lack" ] || skipped $((skips - lack)) "$name" "what a kind of store, or an archive, does not have"
}

unit_run() { # unit_run DIRECTORY NAME
  cp "$ROOT/build/$1/unit_tests" "$WORK/bin/$2"
  gtest_run "$2" "$WORK/bin/$2"
}

unit() {
  note "unit tests"
  if cmake_build cmake unit_tests; then unit_run cmake unit; else one 1 "build of the unit tests"; fi
}

# core_build TARGETS: with the sanitizers' build of core when all parts run, so that core is compiled once; else without.
# Leaves the directory below build/ in $core_directory.
core_build() {
  core_directory=cmake
  if [ "${all_parts:-no}" = yes ] && command -v clang++ >/dev/null; then
    core_directory=fuzz
    sanitized_build "$1"
  else
    cmake_build cmake "$1"
  fi
}

# The object stores and WAL in them, on a real S3 server (Ceph's) with and without a proxy that fails on demand.
store() {
  note "stores: contract, faults, WAL"
  if ! core_build store_tests; then
    one 1 "build of the tests of stores"
    return 0
  fi
  cp "$ROOT/build/$core_directory/store_tests" "$WORK/bin/"
  cp -r "$ROOT/test/s3" "$WORK/bin/"
  S3_STATE=$WORK/tmp/rgw gtest_run store "$WORK/bin/s3/run.sh" "$WORK/bin/store_tests"
}

# A reader in another language, written from docs/format.md.
format() {
  note "the object format, read in Python"
  local status=0
  if ! core_build write_samples; then
    one 1 "build of the samples"
    return 0
  fi
  cp "$ROOT/build/$core_directory/write_samples" "$WORK/bin/"
  cp -r "$ROOT/test/format" "$WORK/bin/"
  (cd "$WORK/home" && as_user timeout 600 "$WORK/bin/format/run.sh" "$WORK/bin/write_samples") || status=$?
  one $status "the reader in Python gets from a repository what dbops has put into it"
}

# clang's build of core has the fuzzers' instrumentation as well, and serves both parts; without clang it is g++'s.
sanitized_build() { # sanitized_build TARGETS
  cmake_build fuzz "$1" -DDBOPS_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++ "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1"
}

sanitizers() {
  note "unit tests with address and undefined behaviour sanitizers"
  local directory=fuzz status=0
  if command -v clang++ >/dev/null; then sanitized_build unit_tests || status=1
  else
    directory=asan
    cmake_build asan unit_tests -DDBOPS_SANITIZE=address,undefined "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1" || status=1
  fi
  if [ $status -eq 0 ]; then unit_run $directory unit-sanitized; else one 1 "build of the unit tests with sanitizers"; fi
}

fuzz() {
  note "fuzzers, $FUZZ_SECONDS s each"
  local name names running=0
  names=$(find "$ROOT/test/fuzz" -name '*_fuzz.cpp' -printf '%f\n' | sed 's/\.cpp$//' | LC_ALL=C sort)
  command -v clang++ >/dev/null || { skipped "$(wc -w <<<"$names")" fuzzers "no clang++"; return 0; }
  if ! sanitized_build "$names"; then
    one 1 "build of the fuzzers"
    return 0
  fi
  mkdir -p "$RESULTS"
  for name in $names; do
    if [ $running -ge "$JOBS" ]; then
      wait -n || true
      running=$((running - 1))
    fi
    fuzz_one "$name" &
    running=$((running + 1))
  done
  wait
}

fuzz_one() { # fuzz_one NAME
  local name=$1 status=0 corpus=$ROOT/test/fuzz/corpus/$1
  mkdir -p "$WORK/fuzz/$name"
  [ -d "$corpus" ] || corpus=
  "$ROOT/build/fuzz/$name" -max_total_time="$FUZZ_SECONDS" -timeout=30 -artifact_prefix="$RESULTS/$name-" \
    "$WORK/fuzz/$name" ${corpus:+"$corpus"} >"$WORK/$name.log" 2>&1 || status=$?
  [ $status -eq 0 ] || tail -n 60 "$WORK/$name.log"
  one $status "$name: $(sed -n 's/^Done \([0-9]*\) runs.*/\1 runs/p' "$WORK/$name.log")"
}

# --- servers ------------------------------------------------------------------------------------------------------

# Builds and installs into $STAGE, once a run.
stage() {
  if [ -n "${staged:-}" ]; then [ "$staged" = yes ]; return; fi
  staged=failed
  note "build of the module and the command line for $("$PG_CONFIG" --version)"
  PGXS_TEST=$(dirname "$("$PG_CONFIG" --pgxs)")/../test
  PGXS_TEST=$(cd "$PGXS_TEST" && pwd)
  if [ -n "${DBOPS_STAGE:-}" ]; then
    cp -r "$DBOPS_STAGE/." "$STAGE"
  else
    mkdir -p "$ROOT/build"
    if ! (flock 9 && make -s -C "$ROOT" -j "$JOBS" && make -s -C "$ROOT" install DESTDIR="$STAGE") \
      9>"$ROOT/build/stage.lock" >"$WORK/build.log" 2>&1; then
      tail -n 100 "$WORK/build.log"
      one 1 "build of the module"
      return 1
    fi
  fi
  chmod -R a+rX "$STAGE"
  server_settings >"$WORK/place.conf"
  staged=yes
}

# select_tests DIRECTORY ENDING [FILE...]: names without ending of the files that were asked for, or of all
select_tests() {
  local directory=$1 ending=$2 name
  shift 2
  if [ $# -eq 0 ]; then
    find "$directory" -maxdepth 1 -name "*.$ending" -printf '%f\n' | sed "s/\.$ending\$//" | LC_ALL=C sort
  fi
  for name in "$@"; do
    name=$(basename "$name" ".$ending")
    [ -e "$directory/$name.$ending" ] || { echo "no such test: $directory/$name.$ending" >&2; return 1; }
    echo "$name"
  done
}

# regression_suite NAME PROGRAM TEST...: in $WORK/NAME, where sql or specs and expected are
regression_suite() {
  local name=$1 program=$2 status=0 log=$WORK/$1.log ok bad
  shift 2
  cat "$ROOT/test/server.conf" "$WORK/place.conf" >"$WORK/$name/server.conf"
  # When that comes is no part of what is compared: it changes estimates, and what can be pruned.
  echo "autovacuum = off" >>"$WORK/$name/server.conf"
  [ "$name" != regress ] || echo "dbops.max_workers = 0" >>"$WORK/$name/server.conf" # see sql/include/setup.sql
  own "$WORK/$name"
  (cd "$WORK/$name" && as_user "$program" --inputdir=. --outputdir=. --bindir="$("$PG_CONFIG" --bindir)" \
    --temp-instance=./instance --temp-config=./server.conf --no-locale --encoding=UTF8 --load-extension=dbops \
    --dbname="dbops_$name" "$@") >"$log" 2>&1 || status=$?
  grep -E ' \.\.\. (ok|FAILED)|^(not )?ok [0-9]' "$log" || true
  ok=$(matches ' \.\.\. ok +[0-9]+ ms|^ok [0-9]' "$log")
  bad=$(matches ' \.\.\. FAILED|^not ok [0-9]' "$log")
  if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1
    tail -n 40 "$log"
    tail -n 40 "$WORK/$name"/log/*.log 2>/dev/null || true
  fi
  count "$ok" "$bad"
  if [ "$bad" -ne 0 ]; then
    [ ! -s "$WORK/$name/regression.diffs" ] || head -n 400 "$WORK/$name/regression.diffs"
    rm -rf "$WORK/$name/instance"
    keep "$WORK/$name" "$name"
  fi
  echo "$name: $ok ok, $bad failed"
}

regress() {
  local tests
  tests=$(select_tests "$ROOT/sql" sql "$@") || { one 1 "SQL tests"; return 0; }
  [ -n "$tests" ] || { echo "no SQL tests"; return 0; }
  stage || return 0
  note "SQL tests (pg_regress)"
  mkdir -p "$WORK/regress"
  cp -r "$ROOT/sql" "$ROOT/expected" "$WORK/regress/"
  # shellcheck disable=SC2086
  regression_suite regress "$PGXS_TEST/regress/pg_regress" $tests
}

isolation() {
  local tests
  tests=$(select_tests "$ROOT/test/isolation" spec "$@") || { one 1 "concurrency tests"; return 0; }
  [ -n "$tests" ] || { echo "no concurrency tests"; return 0; }
  stage || return 0
  note "concurrency tests (pg_isolation_regress)"
  mkdir -p "$WORK/isolation/specs" "$WORK/isolation/expected"
  cp "$ROOT"/test/isolation/*.spec "$WORK/isolation/specs/"
  cp "$ROOT"/test/isolation/expected/*.out "$WORK/isolation/expected/" 2>/dev/null || true
  # shellcheck disable=SC2086
  regression_suite isolation "$PGXS_TEST/isolation/pg_isolation_regress" $tests
}

# tap_file NAME: runs one file, counts, reports
tap_file() {
  local name=$1 directory=$WORK/tap/$1 log=$WORK/tap/$1.log status=0 begin=$SECONDS ok bad
  mkdir -p "$directory"
  own "$directory"
  (
    cd "$directory"
    export TESTDIR=$directory TESTDATADIR=$directory/tmp_check TESTLOGDIR=$directory/tmp_check/log
    export PG_REGRESS=$PGXS_TEST/regress/pg_regress PG_TEST_PORT_DIR=$WORK/portlock TEMP_CONFIG=$WORK/source/test/server.conf
    export DBOPS_CLI=$STAGE/usr/local/bin/dbops DBOPS_STAGE=$STAGE
    PATH=$("$PG_CONFIG" --bindir):$PATH
    export PATH
    as_user timeout -k 30 "${TAP_TIMEOUT:-1800}" perl -I "$PGXS_TEST/perl" -I "$WORK/source/test/tap" "$WORK/source/test/tap/$name.pl"
  ) >"$log" 2>&1 || status=$?
  ok=$(grep -aE '^ok [0-9]' "$log" | grep -avc '# skip ') || true
  bad=$(grep -aE '^not ok [0-9]' "$log" | grep -avc '# TODO') || true
  if [ "$bad" -eq 0 ] && { [ $status -ne 0 ] || ! grep -qaE '^1\.\.[0-9]' "$log"; }; then bad=1; fi # it died, or stopped early
  count "$ok" "$bad"
  (
    flock 8
    echo "$name: $ok ok, $bad failed ($((SECONDS - begin)) s)$(sed -n 's/^1\.\.0 # *SKIP/, skipped:/p' "$log")"
    sed -n -e 's/^1\.\.0 # *SKIP *//p' -e 's/^ok [0-9]* # skip *//p' "$log" | sort | uniq -c | while read -r number reason; do
      skipped "$number" "$name" "$reason"
    done
    [ "$bad" -eq 0 ] || grep -avE '^ok [0-9]' "$log" | tail -n 60 | sed 's/^/    /'
  ) 8>"$WORK/report.lock"
  if [ "$bad" -ne 0 ]; then
    find "$directory" -type d -name pgdata -prune -exec rm -rf {} +
    cp "$log" "$directory/"
    keep "$directory" "tap-$name"
  fi
  rm -rf "$directory"
}

tap() {
  local tests name running=0
  tests=$(select_tests "$ROOT/test/tap" pl "$@") || { one 1 "tests of whole servers"; return 0; }
  [ -n "$tests" ] || { echo "no TAP tests"; return 0; }
  stage || return 0
  note "tests of whole servers (TAP)"
  mkdir -p "$WORK/tap" "$WORK/portlock" "$WORK/source/test"
  own "$WORK/tap" "$WORK/portlock"
  for name in tap s3 format peers setup demo bench; do # the last three for demo.pl
    cp -r "$ROOT/test/$name" "$WORK/source/test/"
  done
  for name in README.md CHANGELOG.md docs; do # for documentation.pl
    [ ! -e "$ROOT/$name" ] || cp -r "$ROOT/$name" "$WORK/source/"
  done
  cat "$ROOT/test/server.conf" "$WORK/place.conf" >"$WORK/source/test/server.conf"
  chmod -R a+rX "$WORK/source"
  for name in $tests; do
    if [ $running -ge "${TAP_JOBS:-4}" ]; then
      wait -n || true
      running=$((running - 1))
    fi
    tap_file "$name" &
    running=$((running + 1))
  done
  wait
}

# --- all ----------------------------------------------------------------------------------------------------------

run() {
  local part parts=(purity sanitizers store format fuzz regress isolation tap) begin
  case ${1:-} in
  '') all_parts=yes ;; # the unit tests run once, with sanitizers
  servers) parts=(regress isolation tap) ;;
  *) "$@"; return ;;
  esac
  for part in "${parts[@]}"; do
    begin=$SECONDS
    if [ "$part" = store ] && [ "${all_parts:-no}" = yes ]; then # it waits most of the time
      store >"$WORK/store.out" 2>&1 &
      stage || true
      wait $! || count 0 1
      cat "$WORK/store.out"
    else
      $part
    fi
    echo "($part: $((SECONDS - begin)) s)"
  done
}

case ${1:-} in
'' | servers | purity | unit | store | format | sanitizers | fuzz | regress | isolation | tap) ;;
*) sed -n '2,4s/^# //p' "$0" >&2; exit 2 ;;
esac
command -v "$PG_CONFIG" >/dev/null || { echo "run-tests.sh: no $PG_CONFIG; run test/setup/packages.sh, or set PG_CONFIG" >&2; exit 2; }

# The tests run in a process group of their own, so that an interrupt of this script can end them.
finish() {
  local status=$?
  trap - EXIT
  trap '' HUP INT TERM
  if [ -n "${body:-}" ]; then kill -TERM -- "-$body" 2>/dev/null || true; fi
  clear_workplace
  exit $status
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
make_workplace
: >"$WORK/counts"
set -m
run "$@" </dev/null &
body=$!
set +m
complete=0
wait $body || complete=$?
body=
[ $complete -eq 0 ] || { count 0 1; echo "run-tests.sh itself ended with status $complete"; }
read -r passed failed <<<"$(awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }' "$WORK/counts")"
if [ -s "$WORK/skips" ]; then
  note "skipped: $(awk '{ n += $1 } END { print n }' "$WORK/skips"), which count neither as passed nor as failed"
  LC_ALL=C sort -k 2 "$WORK/skips"
fi
clear_workplace
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
