#!/bin/bash
# record.sh [flyway|liquibase|alembic|sqitch]...: runs the real tools against a private server and writes anew what
# test/tap/flyway.pl and test/tap/adopt_real.pl compare dbops with. See README.md. As root it runs the server as postgres.
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

# plain FILE: a dump without what another pg_dump writes differently
plain() { sed -E '/^(--.*|SET .*|\\(un)?restrict .*)?$/d' >"$1"; }
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

liquibase() {
  local run
  maven liquibase
  createdb liquibase
  for run in 1 2; do # the second one runs again what always runs
    (cd "$HERE/liquibase" && java -cp "$WORK/liquibase/*" liquibase.integration.commandline.LiquibaseCommandLine --search-path=. \
      --changelog-file=changelog.yaml --url="jdbc:postgresql://$PGHOST:$PGPORT/liquibase" --username=postgres --password= update \
      >"$WORK/liquibase-$run.log" 2>&1) || { cat "$WORK/liquibase-$run.log"; return 1; }
  done
  pg_dump --no-owner --inserts -t databasechangelog -t databasechangeloglock liquibase | plain "$HERE/liquibase/history.sql"
}

alembic() {
  local step=0 target
  python3 -m venv "$WORK/venv"
  "$WORK/venv/bin/pip" -q install alembic==1.20.1 sqlalchemy==2.1.9 psycopg2-binary==2.9.13
  createdb alembic
  for target in 27c6a30d7c24 b1a b2a head; do
    (cd "$HERE/alembic" && PYTHONDONTWRITEBYTECODE=1 ALEMBIC_URL="postgresql+psycopg2://postgres@$PGHOST:$PGPORT/alembic" \
      "$WORK/venv/bin/alembic" upgrade $target)
    step=$((step + 1))
    pg_dump --no-owner --inserts -t alembic_version alembic | plain "$HERE/alembic/$step.sql"
  done
}

sqitch() {
  createdb sqitch
  export SQITCH_FULLNAME=Ann SQITCH_EMAIL=ann@example
  (cd "$HERE/sqitch" && command sqitch deploy --verify --target "db:pg://postgres@$PGHOST:$PGPORT/sqitch" &&
    command sqitch revert -y --to größe --target "db:pg://postgres@$PGHOST:$PGPORT/sqitch" &&
    command sqitch deploy --verify --target "db:pg://postgres@$PGHOST:$PGPORT/sqitch")
  pg_dump --no-owner --inserts -n sqitch sqitch | plain "$HERE/sqitch/history.sql"
}

[ $# -gt 0 ] || set -- flyway liquibase alembic sqitch
for tool in "$@"; do "$tool"; done
