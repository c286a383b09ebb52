# Sourced by bash. A temporary directory for servers and tests, reachable and executable for an unprivileged user, and
# what goes away with it: every process and file in it.
#
#   make_workplace               sets WORK (with home, tmp, bin), STAGE, TEST_USER; needs PG_CONFIG
#   as_user COMMAND...           without root's rights: as TEST_USER when root called, else as it is
#   own FILE...                  gives files to TEST_USER
#   server_settings              prints the settings that make a server find dbops in $STAGE
#   clear_workplace              ends the processes in it, by their ids, and removes it

as_user() {
  if [ -n "$TEST_USER" ]; then setpriv --reuid="$TEST_USER" --regid="$(id -g "$TEST_USER")" --init-groups "$@"; else "$@"; fi
}

own() {
  if [ -n "$TEST_USER" ]; then chown -R "$TEST_USER" "$@"; fi
}

make_workplace() {
  local place
  TEST_USER=
  if [ "$(id -u)" -eq 0 ]; then
    TEST_USER=postgres
    id postgres >/dev/null 2>&1 || TEST_USER=nobody
  fi
  umask 022 # the unprivileged user reads what is put here
  # Paths of sockets may have 107 bytes; some places are root's alone, or mounted noexec.
  WORK=
  for place in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
    [ -d "$place" ] && [ ${#place} -le 40 ] || continue
    WORK=$(mktemp -d "$place/dbops-test.XXXXXX") || continue
    chmod 755 "$WORK"
    mkdir "$WORK/home" "$WORK/tmp" "$WORK/bin" "$WORK/stage"
    printf '#!/bin/sh\n: >"$1"\n' >"$WORK/bin/probe"
    chmod 755 "$WORK/bin/probe"
    own "$WORK/home" "$WORK/tmp"
    if as_user "$WORK/bin/probe" "$WORK/tmp/probe" 2>/dev/null; then break; fi
    rm -rf "$WORK"
    WORK=
  done
  [ -n "$WORK" ] || { echo "no temporary directory in which user ${TEST_USER:-$(id -un)} can write and execute; set TMPDIR" >&2; return 1; }
  rm -f "$WORK/tmp/probe"
  STAGE=$WORK/stage
  # Every process that is started below carries this in its environment.
  export DBOPS_WORKPLACE=$WORK HOME=$WORK/home TMPDIR=$WORK/tmp LC_ALL=C.UTF-8 TZ=UTC
  # Nothing of this is for the servers on this machine: not the proxy to the net, nor the credentials for it.
  unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY ${!AWS_*} PGTZ PGDATESTYLE PGCLIENTENCODING PGSSLMODE PGCONNECT_TIMEOUT
}

server_settings() {
  local major pkglib share
  pkglib=$("$PG_CONFIG" --pkglibdir)
  share=$("$PG_CONFIG" --sharedir)
  major=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
  echo "dynamic_library_path = '$STAGE$pkglib:\$libdir'"
  if [ "$major" -ge 18 ]; then echo "extension_control_path = '$STAGE$share:\$system'"
  else echo "extension_destdir = '$STAGE'" # Debian's patch
  fi
}

# Process ids of postmasters whose data is in the workplace, and of other processes that were started from there.
workplace_processes() {
  local file pid
  find "$WORK" -name postmaster.pid 2>/dev/null | while read -r file; do
    pid=$(head -n 1 "$file") || continue
    case $(readlink "/proc/$pid/cwd" 2>/dev/null) in "$WORK"/*) echo "$pid" ;; esac
  done
  for file in /proc/[0-9]*/environ; do
    pid=${file#/proc/} pid=${pid%/environ}
    [ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] && [ "$pid" != "$PPID" ] || continue
    { tr '\0' '\n' <"$file"; } 2>/dev/null | grep -qxF "DBOPS_WORKPLACE=$WORK" && echo "$pid"
  done
  return 0
}

clear_workplace() {
  local signal pid left i
  [ -n "${WORK:-}" ] && [ -d "$WORK" ] || return 0
  for signal in INT QUIT KILL; do # to a postmaster: fast shutdown, immediate shutdown
    left=$(workplace_processes)
    for pid in $left; do kill -s $signal "$pid" 2>/dev/null || true; done
    for ((i = 0; i < 100 && ${#left} > 0; i++)); do
      sleep 0.1
      left=$(workplace_processes)
    done
    [ -n "$left" ] || break
  done
  for ((i = 0; i < 10; i++)); do # one that is ending may still write
    ! rm -rf "$WORK" || break
    sleep 1
  done
}
