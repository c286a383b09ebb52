#!/bin/bash
# run.sh [SUITE...]: builds dbops and runs its tests of servers on other PostgreSQL majors, each in a folder of its own made
# by debootstrap: build/majors/trixie (Debian 13, PostgreSQL 17) and build/majors/forky (Debian 14, PostgreSQL 18). A folder
# that is there is used again. Needs root, for chroot. Last line: N passed, N failed.
#
# Environment: MIRROR (default: the Debian mirror of the machine's apt); MAJORS_DIR (default build/majors); JOBS; TESTS
# (arguments of run-tests.sh, default "servers").
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
JOBS=${JOBS:-$(nproc)}
MAJORS_DIR=${MAJORS_DIR:-$ROOT/build/majors}
[ $# -gt 0 ] || set -- trixie forky

major_of() {
  case $1 in
  trixie) echo 17 ;;
  forky) echo 18 ;;
  *) echo "run.sh: suite trixie or forky, not $1" >&2; exit 2 ;;
  esac
}
for suite in "$@"; do major_of "$suite" >/dev/null; done
if [ "$(id -u)" -ne 0 ]; then
  echo "test/majors/run.sh: chroot needs root" >&2
  exit 2
fi
"$ROOT/test/setup/packages.sh" majors

# Where apt on this machine gets Debian itself from, and by which proxy.
apt_mirror() {
  apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
    awk '$1 !~ /-/ { sub(/\/$/, "", $2); print $2; exit }'
}
eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
if [ -n "${http_proxy:-}" ] && [ "$http_proxy" != DIRECT ]; then export http_proxy; else unset http_proxy; fi

# A folder is whole when this file is in it; half of one is made anew.
make_folder() { # make_folder SUITE FOLDER
  local suite=$1 folder=$2 mirror script=/usr/share/debootstrap/scripts/$1
  [ ! -x "$folder/usr/bin/apt-get" ] || [ -d "$folder/debootstrap" ] || return 0
  mirror=${MIRROR:-$(apt_mirror)}
  [ -n "$mirror" ] || { echo "run.sh: apt names no mirror of Debian; set MIRROR" >&2; return 1; }
  [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid # a suite that is younger than debootstrap
  rm -rf "$folder"
  mkdir -p "$folder"
  echo "making $folder from the machine's mirror"
  debootstrap --variant=minbase "$suite" "$folder" "$mirror" "$script" >"$folder.log" 2>&1 || { tail -n 20 "$folder.log"; return 1; }
}

# inside FOLDER COMMAND...: in a mount and process namespace of its own, so that nothing is left when it ends
inside() {
  local folder=$1
  shift
  unshare --mount --pid --fork --kill-child -- bash -c '
    folder=$1; shift
    mount -t proc proc "$folder/proc" && mount -t tmpfs -o mode=1777 tmpfs "$folder/dev/shm" &&
      mount -t devpts -o newinstance,ptmxmode=0666 devpts "$folder/dev/pts" && mount --bind "$folder/dev/pts/ptmx" "$folder/dev/ptmx" ||
      echo "no mounts: going on without"
    exec chroot "$folder" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
      ${http_proxy:+http_proxy="$http_proxy"} "$@"' bash "$folder" "$@" </dev/null
}

# What packages-server.txt names for 15, for this major.
packages() { sed "s/#.*//; s/^\(postgresql.*\)-15\b/\1-$1/" "$ROOT/test/setup/packages-server.txt" | xargs; }

complete_folder() { # complete_folder MAJOR FOLDER
  local wanted
  wanted=$(packages "$1")
  # shellcheck disable=SC2086
  if { chroot "$2" dpkg-query -W -f='${db:Status-Status}\n' $wanted 2>&1 || true; } | grep -qvx installed; then
    cp -L /etc/resolv.conf "$2/etc/resolv.conf" 2>/dev/null || true
    mkdir -p "$2/etc/postgresql-common/createcluster.d"
    echo "create_main_cluster = false" >"$2/etc/postgresql-common/createcluster.d/none.conf"
    printf '#!/bin/sh\nexit 101\n' >"$2/usr/sbin/policy-rc.d"
    chmod 755 "$2/usr/sbin/policy-rc.d"
    # A mirror may lag behind, and these folders hold nothing but tests: an old list of packages will do.
    # shellcheck disable=SC2086
    { inside "$2" apt-get -q -o Acquire::Check-Valid-Until=false update && inside "$2" apt-get -q install -y --no-install-recommends $wanted; } >>"$2.log" 2>&1 ||
      { tail -n 20 "$2.log"; return 1; }
  fi
}

# What was built there stays. A file counts as changed when its content is: by its time it may be older than an object that
# was made of another state of it.
copy_source() { # copy_source FOLDER
  local new=$1/dbops.new old=$1/dbops file
  rm -rf "$new"
  mkdir -p "$new" "$old"
  tar -C "$ROOT" -c --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.d' --exclude='*.so' --exclude='dbops--*.sql' . |
    tar -C "$new" -x --no-same-owner
  (cd "$old" && find . -path ./build -prune -o -type f ! -name '*.o' ! -name '*.d' -print0) | while IFS= read -r -d '' file; do
    [ -e "$new/$file" ] || rm -f "$old/$file"
  done
  (cd "$new" && find . -type f -print0) | while IFS= read -r -d '' file; do
    cmp -s "$new/$file" "$old/$file" || { mkdir -p "$old/${file%/*}" && cp --preserve=mode "$new/$file" "$old/$file"; }
  done
  rm -rf "$new"
}

passed=0 failed=0
for suite in "$@"; do
  major=$(major_of "$suite")
  folder=$MAJORS_DIR/$suite
  log=$MAJORS_DIR/$suite-tests.log
  printf '\n=== PostgreSQL %s, in %s\n' "$major" "$suite"
  mkdir -p "$MAJORS_DIR"
  if ! make_folder "$suite" "$folder" || ! complete_folder "$major" "$folder"; then
    failed=$((failed + 1))
    continue
  fi
  copy_source "$folder"
  # shellcheck disable=SC2086
  inside "$folder" env JOBS="$JOBS" PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" \
    /dbops/test/run-tests.sh ${TESTS:-servers} 2>&1 | tee "$log" || true
  read -r suite_passed suite_failed < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1) || true
  passed=$((passed + ${suite_passed:-0}))
  failed=$((failed + ${suite_failed:-1}))
done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
