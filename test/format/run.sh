#!/bin/bash
# run.sh WRITE_SAMPLES: the reader in Python must get from a repository exactly what the C++ writer put into it, and must
# refuse damage. WRITE_SAMPLES is the program built from write_samples.cpp.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" "$work"
# Debian's own interpreter: the packages of test/setup/packages-s3.txt are for it.
PYTHON=${PYTHON:-/usr/bin/python3}
failures=0
fail() { echo "FAILED: $*" >&2; failures=$((failures + 1)); }
read_file() { "$PYTHON" "$HERE/reader.py" --keys "$work/keys" "$work/store" 7300000000000000001 "$1"; }

count=0
for expected in "$work"/expected/*; do
  name=${expected##*/}
  read_file "$name" | cmp - "$expected" || fail "$name differs"
  count=$((count + 1))
done
[ "$count" = 11 ] || fail "$count files read, not 11"

status_of() { local status=0; read_file "$1" >/dev/null 2>&1 || status=$?; echo $status; }
[ "$(status_of 000000010000000000000008)" = 1 ] || fail "a segment that is not there"
[ "$(status_of 00000009.history)" = 1 ] || fail "a history that is not there"
[ "$(status_of 000000010000000000000000)" = 2 ] || fail "a gap"

damage() { # damage FILE OFFSET
  printf '\377' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
object=$work/store/7300000000000000001/wal/00000001/00000000/000000010000000000000002.zst
damage "$object" 200000
[ "$(status_of 000000010000000000000002)" = 2 ] || fail "a damaged record"
object=$work/store/7300000000000000001/wal/00000001/00000000/000000010000000000000001.zst
damage "$object" 30
[ "$(status_of 000000010000000000000001)" = 2 ] || fail "a damaged header"
[ "$failures" = 0 ] && echo "format: $count files read by the second reader"
