#!/bin/bash
# serve.sh start|stop: an S3 server (rgw.sh) and the fault proxy in front of it. "start" prints what a client needs, one
# NAME=VALUE a line, and returns when both answer; "stop" ends both and removes all they had.
#
# Environment: S3_STATE, a directory of their own for everything (default ${TMPDIR:-/tmp}/dbops-rgw-UID); S3_PORT, S3_TLS_PORT,
# S3_PROXY_PORT, S3_CONTROL_PORT, S3_MON_PORT (default: free ones); S3_ACCESS_KEY, S3_SECRET_KEY. No root needed.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
export S3_STATE=${S3_STATE:-${TMPDIR:-/tmp}/dbops-rgw-$(id -u)}
export S3_ACCESS_KEY=${S3_ACCESS_KEY:-testaccess} S3_SECRET_KEY=${S3_SECRET_KEY:-testsecretkey12345}
STATE=$S3_STATE
# shellcheck source=process.sh
. "$HERE/process.sh"

# The first of 210 ports below the kernel's own range in which nothing listens: four for the servers, the rest for Ceph.
# Servers that begin at the same time do not listen yet: within a workplace (setup/workplace.sh) a directory says whose they are.
free_ports() {
  python3 - <<'PYTHON'
import os
import random
import re


def claim(base):
    workplace = os.environ.get("DBOPS_WORKPLACE")
    try:
        if workplace:
            os.mkdir(f"{workplace}/tmp/s3-ports-{base}")
    except FileExistsError:
        return False
    return True


used = set()
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    try:
        with open(table, encoding="ascii") as lines:
            used |= {int(found, 16) for found in re.findall(r"^\s*\d+: [0-9A-F]+:([0-9A-F]{4})", lines.read(), re.M)}
    except OSError:
        pass
for base in random.sample(range(12000, 31790, 210), k=95):
    if not used & set(range(base, base + 210)) and claim(base):
        print(base)
        break
PYTHON
}

case ${1:-} in
start) ;;
stop)
  stop proxy 5
  exec "$HERE/rgw.sh" stop
  ;;
*) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
esac

given="${S3_PORT:-} ${S3_TLS_PORT:-} ${S3_MON_PORT:-}"
start() {
  local base
  base=$(free_ports)
  export S3_PORT=${S3_PORT:-$base} S3_TLS_PORT=${S3_TLS_PORT:-$((base + 1))} S3_MON_PORT=${S3_MON_PORT:-$((base + 10))}
  proxy_port=${S3_PROXY_PORT:-$((base + 2))} control_port=${S3_CONTROL_PORT:-$((base + 3))}
  "$HERE/rgw.sh" start >/dev/null || return 1
  spawn proxy python3 "$HERE/fault_proxy.py" --listen "$proxy_port" --backend "$S3_PORT" --control "$control_port"
  wait_for proxy 120 curl -sf "http://127.0.0.1:$control_port/stats"
}
trap '[ $? -eq 0 ] || "$0" stop' EXIT
# Another test's server may have taken one of the ports since they were looked at: then once more, with others.
start || {
  [ "$given" = "  " ] || exit 1
  unset S3_PORT S3_TLS_PORT S3_MON_PORT
  "$0" stop
  start
}
(umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
  "$S3_ACCESS_KEY" "$S3_SECRET_KEY" >"$STATE/credentials")
cat <<VARIABLES
S3_STATE=$STATE
S3_ACCESS_KEY=$S3_ACCESS_KEY
S3_SECRET_KEY=$S3_SECRET_KEY
S3_ENDPOINT=http://127.0.0.1:$S3_PORT
S3_TLS_ENDPOINT=https://127.0.0.1:$S3_TLS_PORT
S3_PROXY_ENDPOINT=http://127.0.0.1:$proxy_port
S3_PROXY_CONTROL=http://127.0.0.1:$control_port
S3_CA_FILE=$STATE/tls/ca.pem
S3_OTHER_CA_FILE=$STATE/tls/other-ca.pem
S3_CREDENTIALS_FILE=$STATE/credentials
VARIABLES
