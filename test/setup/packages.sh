#!/bin/sh
# packages.sh [--check] [LIST...]: installs the Debian packages of each packages-LIST.txt, by default server, tools and s3.
#
# Calls apt only when one is missing, which needs root; --check only says which are missing (status 1). No cluster is
# made and no service is started by it: neither postgresql's "main" nor pgbouncer.
set -eu
cd "$(dirname "$0")"

check=false
if [ "${1:-}" = --check ]; then check=true; shift; fi
[ $# -gt 0 ] || set -- server tools s3
lists=
for list in "$@"; do lists="$lists packages-$list.txt"; done

if ! command -v dpkg-query >/dev/null; then
  echo "packages.sh: this is not Debian; install by your own means what these name in test/setup:$lists" >&2
  exit 0
fi

missing=
# shellcheck disable=SC2086
for package in $(sed 's/#.*//' $lists); do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=none
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if $check; then echo "missing:$missing"; exit 1; fi

if [ "$(id -u)" -ne 0 ]; then
  echo "packages.sh: these Debian packages are missing; install them as root:" >&2
  echo "  apt-get install$missing" >&2
  exit 1
fi

# While apt works: no cluster "main" (pg_createcluster reads the directory), no service started (invoke-rc.d asks the policy).
no_cluster=/etc/postgresql-common/createcluster.d/dbops-no-main-cluster.conf
policy=/usr/sbin/policy-rc.d
own_policy=false
restore() {
  rm -f "$no_cluster"
  rmdir /etc/postgresql-common/createcluster.d /etc/postgresql-common 2>/dev/null || true
  if $own_policy; then rm -f "$policy"; fi
}
trap restore EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$(dirname "$no_cluster")"
echo "create_main_cluster = false" >"$no_cluster"
if [ ! -e "$policy" ]; then
  own_policy=true
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

# Somebody else's apt may have the lock, as on a machine that has just started; a mirror may not answer at first.
apt() {
  tries=1
  until apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >/dev/null; do
    [ $tries -lt 6 ] || return 1
    echo "packages.sh: apt-get $1 has failed; again in 20 s" >&2
    sleep 20
    tries=$((tries + 1))
  done
}

echo "packages.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt update
# shellcheck disable=SC2086
apt install -y --no-install-recommends $missing
# A service that came with it is not to start with the machine either.
case " $missing " in
*" pgbouncer "*) if [ -d /run/systemd/system ]; then systemctl -q disable pgbouncer || true; fi ;;
esac
