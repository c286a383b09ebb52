#!/bin/bash
# run.sh [backfill|archive|backup|migrate|schedules|soft_delete|lifecycle [ARGUMENT...]]: the benchmarks, or one of them (--help says with which
# arguments), on private servers. Figures go to docs/performance.md by hand.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in
'')
  "$here/../setup/private-server.sh" bench/backfill.py
  "$here/../setup/private-server.sh" bench/archive.py
  "$here/../setup/private-server.sh" bench/backup.py
  "$here/../setup/private-server.sh" bench/migrate.py
  "$here/../setup/private-server.sh" bench/schedules.py
  "$here/../setup/private-server.sh" bench/soft_delete.py
  exec "$here/../setup/private-server.sh" bench/lifecycle.py
  ;;
backfill | archive | backup | migrate | schedules | soft_delete | lifecycle)
  program=bench/$1.py
  shift
  exec "$here/../setup/private-server.sh" "$program" "$@"
  ;;
*) sed -n '2,3s/^# //p' "$0" >&2; exit 2 ;;
esac
