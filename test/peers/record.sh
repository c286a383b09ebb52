#!/bin/bash
# record.sh [flyway]...: runs the real tools against a private server and writes anew what
# test/tap/flyway.pl compares dbops with. See README.md. As root it runs the server as postgres.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
BIN=$("${PG_CONFIG:-pg_config}" --bindir)
WORK=$(mktemp -d)
export PATH=$BIN:$PATH LC_ALL=C.UTF-8 PGHOST=127.0.0.1 PGPORT=${PGPORT:-54871} PGUSER=postgres PGDATABASE=postgres

as_server() { if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
clear_up() {
  as_server pg_ctl -D "$WORK/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$WORK"
}
trap clear_up EXIT
[ "$(id -u)" -ne 0 ] || chown postgres "$WORK"
as_server initdb -D "$WORK/data" -A trust -U postgres --no-locale -E UTF8 >/dev/null
as_server pg_ctl -D "$WORK/data" -l "$WORK/log" -w \
  -o "-c listen_addresses=$PGHOST -c port=$PGPORT -c unix_socket_directories=$WORK" start >/dev/null

# maven FOLDER: what its pom.xml names, into $WORK/FOLDER
maven() { mvn -q -B -f "$HERE/$1/pom.xml" dependency:copy-dependencies -DoutputDirectory="$WORK/$1"; }

flyway() {
  local steps case
  maven flyway
  javac -cp "$WORK/flyway/*" -d "$WORK" "$HERE/flyway/FlywayHistory.java"
  for steps in "$HERE"/flyway/*/steps; do
    case=$(basename "$(dirname "$steps")")
    createdb "flyway_$case"
    rm -f "$HERE/flyway/$case"/*.sql
    (cd "$HERE/flyway" && java -cp "$WORK/flyway/*:$WORK" FlywayHistory "$case" "jdbc:postgresql://$PGHOST:$PGPORT/flyway_$case" \
      >"$WORK/$case.log" 2>&1) || { cat "$WORK/$case.log"; return 1; }
  done
}

[ $# -gt 0 ] || set -- flyway
for tool in "$@"; do "$tool"; done
