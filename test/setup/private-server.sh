#!/bin/bash
# private-server.sh PYTHON-PROGRAM [ARGUMENT...]: builds dbops into a staging directory and runs the program, without
# root's rights, where it can start private servers with it (server.py). Nothing is installed, nothing is left behind.
# Environment: PG_CONFIG; DBOPS_STAGE (a `make install DESTDIR=` to use instead of building one).
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
export PG_CONFIG=${PG_CONFIG:-pg_config}
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES PGHOST PGPORT PGUSER PGDATABASE PGDATA PGSERVICE PGOPTIONS PGPASSWORD
# shellcheck source=workplace.sh
. "$ROOT/test/setup/workplace.sh"

make_workplace
trap clear_workplace EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -n "${DBOPS_STAGE:-}" ]; then cp -r "$DBOPS_STAGE/." "$STAGE"
else
mkdir -p "$ROOT/build"
(flock 9 && make -s -C "$ROOT" -j "$(nproc)" >"$WORK/build.log" 2>&1 && make -s -C "$ROOT" install DESTDIR="$STAGE" >>"$WORK/build.log" 2>&1) \
  9>"$ROOT/build/.lock" || { cat "$WORK/build.log"; exit 1; }
fi
cp -r "$ROOT/test/setup" "$ROOT/test/bench" "$ROOT/test/demo" "$ROOT/test/s3" "$ROOT/test/peers" "$WORK/bin/"
chmod -R a+rX "$STAGE" "$WORK/bin"
DBOPS_SETTINGS=$(server_settings)
PGBIN=$("$PG_CONFIG" --bindir)
export DBOPS_SETTINGS PGBIN DBOPS_COMMAND=$STAGE/usr/local/bin/dbops PYTHONPATH=$WORK/bin/setup PYTHONDONTWRITEBYTECODE=1
program=$1
shift
cd "$WORK/tmp"
# Not exec: the trap has to clear up. In the background, so that a signal is handled at once.
as_user /usr/bin/python3 "$WORK/bin/$program" "$@" &
wait $!
