#!/bin/bash
# run.sh PROGRAM [ARGUMENTS]: starts the S3 server and the fault proxy (serve.sh, with its environment), runs PROGRAM
# (build/.../store_tests) with the variables that test/s3/s3_fixture.h reads, and stops both. Ends after 20 minutes at
# the latest.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
export S3_STATE=${S3_STATE:-${TMPDIR:-/tmp}/dbops-rgw-$(id -u)}
trap '"$HERE/serve.sh" stop' EXIT
variables=$("$HERE/serve.sh" start)
set -a
eval "$variables"
set +a
timeout 1200 "$@"
