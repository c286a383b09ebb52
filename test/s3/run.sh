#!/bin/bash
# run.sh PROGRAM [ARGUMENTS]: starts the S3 server and the fault proxy, runs PROGRAM (build/.../store_tests) with the
# environment that test/s3/s3_fixture.h reads, and stops both. Ends after 10 minutes at the latest.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
export S3_STATE=${S3_STATE:-${TMPDIR:-/tmp}/dbops-rgw-$(id -u)} S3_PORT=${S3_PORT:-17480} S3_TLS_PORT=${S3_TLS_PORT:-17443}
export S3_ACCESS_KEY=${S3_ACCESS_KEY:-testaccess} S3_SECRET_KEY=${S3_SECRET_KEY:-testsecretkey12345}
PROXY_PORT=${S3_PROXY_PORT:-17580} CONTROL_PORT=${S3_CONTROL_PORT:-17581}
STATE=$S3_STATE
# shellcheck source=process.sh
. "$HERE/process.sh"

cleanup() {
  stop proxy 5
  "$HERE/rgw.sh" stop
}
trap cleanup EXIT
"$HERE/rgw.sh" start >/dev/null
spawn proxy python3 "$HERE/fault_proxy.py" --listen "$PROXY_PORT" --backend "$S3_PORT" --control "$CONTROL_PORT"
wait_for proxy 10 curl -sf "http://127.0.0.1:$CONTROL_PORT/stats"

export S3_ENDPOINT=http://127.0.0.1:$S3_PORT S3_TLS_ENDPOINT=https://127.0.0.1:$S3_TLS_PORT
export S3_PROXY_ENDPOINT=http://127.0.0.1:$PROXY_PORT S3_PROXY_CONTROL=http://127.0.0.1:$CONTROL_PORT
export S3_CA_FILE=$STATE/tls/ca.pem S3_OTHER_CA_FILE=$STATE/tls/other-ca.pem
export S3_CREDENTIALS_FILE=$STATE/credentials
(umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
  "$S3_ACCESS_KEY" "$S3_SECRET_KEY" >"$S3_CREDENTIALS_FILE")
timeout 600 "$@"
