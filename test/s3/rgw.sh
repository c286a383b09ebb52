#!/bin/bash
# rgw.sh start|stop: Ceph with one RADOS Gateway (an S3 server) on 127.0.0.1, all in memory, without root.
#
# Environment: S3_STATE directory for everything (default ${TMPDIR:-/tmp}/dbops-rgw-UID); S3_PORT http (default 17480),
# S3_TLS_PORT https (default 17443), S3_MON_PORT first of 200 ports for Ceph itself (default 17500);
# S3_ACCESS_KEY, S3_SECRET_KEY (defaults below); S3_BYTES, what the store may hold (default 2 GiB). Needs the packages of
# test/setup/packages-s3.txt.
#
# Buckets: dbops-test; dbops-versioned, with versions; dbops-small, which takes 12 objects and then says QuotaExceeded;
# dbops-nolist, where the user nolist (same secret key) may get and put but not list; dbops-keep, where the user writer (same
# secret key) may do all but delete.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
STATE=${S3_STATE:-${TMPDIR:-/tmp}/dbops-rgw-$(id -u)}
PORT=${S3_PORT:-17480} TLS_PORT=${S3_TLS_PORT:-17443} MON_PORT=${S3_MON_PORT:-17500}
ACCESS_KEY=${S3_ACCESS_KEY:-testaccess} SECRET_KEY=${S3_SECRET_KEY:-testsecretkey12345}
BYTES=${S3_BYTES:-$((2 << 30))} # what the store may hold
# shellcheck source=process.sh
. "$HERE/process.sh"

stop_all() { for name in rgw osd mon; do stop "$name" 20; done; }

if [ "${1:-}" = stop ]; then
  stop_all
  [ ! -e "$STATE/ceph.conf" ] || rm -rf "$STATE"
  exit 0
fi
[ "${1:-}" = start ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }

mkdir -p "$STATE"
chmod 700 "$STATE"
if alive osd && alive rgw; then echo "$STATE"; exit 0; fi
stop_all # the store is memory: with its OSD gone the rest is of no use
cd "$STATE"
rm -rf mon osd rgw keyring monmap run log
mkdir -p mon osd rgw run log
"$HERE/certificates.sh" "$STATE/tls"
fsid=$(cat /proc/sys/kernel/random/uuid)
osd_uuid=$(cat /proc/sys/kernel/random/uuid)

# auth none needs the modes "crc". Proposals every 20 ms: pools come up in 2 s instead of 10. tcp_nodelay: without it a
# small GET takes 44 ms. gc at once: removed objects would keep their memory for two hours.
cat >ceph.conf <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$MON_PORT,v1:127.0.0.1:$((MON_PORT + 1))]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
ms client mode = crc
ms service mode = crc
ms cluster mode = crc
ms bind ipv6 = false
ms bind port min = $((MON_PORT + 2))
ms bind port max = $((MON_PORT + 199))
public addr = 127.0.0.1
cluster addr = 127.0.0.1
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
paxos propose interval = 0.02
paxos min wait = 0.01
mon election timeout = 1
mon allow pool size one = true
mon max pg per osd = 1000
mon_data_avail_warn = 1
mon_data_avail_crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
run dir = $STATE/run
log file = $STATE/log/\$name.log
admin socket = $STATE/run/\$name.asok
crash dir = $STATE/crash
keyring = $STATE/keyring
debug ms = 0/0
debug mon = 0/0
debug paxos = 0/0
debug osd = 0/0
debug rgw = 0/0
[mon.a]
mon data = $STATE/mon
[osd.0]
osd data = $STATE/osd
osd objectstore = memstore
memstore device bytes = $BYTES
osd class update on start = false
osd crush update on start = true
osd crush location = root=default host=local
osd max object name len = 2048
osd fast shutdown = true
osd class dir = /usr/lib/$(uname -m)-linux-gnu/rados-classes
[client.rgw]
rgw data = $STATE/rgw
rgw frontends = beast endpoint=127.0.0.1:$PORT tcp_nodelay=1 ssl_endpoint=127.0.0.1:$TLS_PORT ssl_certificate=$STATE/tls/server.pem
rgw dns name = localhost
rgw thread pool size = 64
rgw run sync thread = false
rgw gc obj min wait = 1
rgw gc processor period = 5
rgw gc processor max time = 5
rgw bucket quota ttl = 0
CONF

ceph_() { ceph -c "$STATE/ceph.conf" --connect-timeout 3 "$@"; }
osd_up() { ceph_ osd stat 2>/dev/null | grep -q '1 up'; }
# s3 METHOD PATH [CURL OPTIONS]: signed by curl; it does not sign the payload's hash by itself
s3() {
  curl -sf --max-time 60 -o /dev/null -X "$1" --aws-sigv4 aws:amz:us-east-1:s3 -u "$ACCESS_KEY:$SECRET_KEY" \
    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "${@:3}" "http://127.0.0.1:$PORT/$2"
}

ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' >/dev/null
monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$MON_PORT,v1:127.0.0.1:$((MON_PORT + 1))]" monmap >/dev/null
ceph-mon -c ceph.conf --mkfs -i a --monmap monmap --keyring keyring
spawn mon ceph-mon -c "$STATE/ceph.conf" -f -i a
wait_for mon 120 ceph_ mon stat
wait_for mon 120 ceph_ osd new "$osd_uuid"
ceph-osd -c ceph.conf -i 0 --mkfs --osd-uuid "$osd_uuid" >log/osd-mkfs.log 2>&1
spawn osd ceph-osd -c "$STATE/ceph.conf" -f -i 0
wait_for osd 120 osd_up
radosgw-admin -c ceph.conf -n client.rgw user create --uid=test --display-name=test \
  --access-key="$ACCESS_KEY" --secret="$SECRET_KEY" >log/user.out 2>&1
radosgw-admin -c ceph.conf -n client.rgw user create --uid=nolist --display-name=nolist \
  --access-key=nolist --secret="$SECRET_KEY" >>log/user.out 2>&1
radosgw-admin -c ceph.conf -n client.rgw user create --uid=writer --display-name=writer \
  --access-key=writer --secret="$SECRET_KEY" >>log/user.out 2>&1
spawn rgw radosgw -c "$STATE/ceph.conf" -f -n client.rgw
wait_for rgw 180 s3 PUT dbops-test
make() { wait_for rgw 120 s3 PUT "$@"; }
make dbops-versioned
make dbops-versioned?versioning= -H 'Content-Type: application/xml' \
  -d '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>'
make dbops-small
radosgw-admin -c ceph.conf -n client.rgw quota set --quota-scope=bucket --bucket=dbops-small --max-objects=12 >>log/user.out 2>&1
radosgw-admin -c ceph.conf -n client.rgw quota enable --quota-scope=bucket --bucket=dbops-small >>log/user.out 2>&1
make dbops-nolist
make dbops-nolist?policy= -H 'Content-Type: application/json' -d '{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam:::user/nolist"}, "Action": ["s3:GetObject", "s3:PutObject"],
   "Resource": "arn:aws:s3:::dbops-nolist/*"}]}'
make dbops-keep # what the writer puts there is the writer's, but for the first statement
make dbops-keep?policy= -H 'Content-Type: application/json' -d '{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam:::user/test"}, "Action": "s3:*",
   "Resource": ["arn:aws:s3:::dbops-keep", "arn:aws:s3:::dbops-keep/*"]},
  {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam:::user/writer"},
   "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
   "Resource": ["arn:aws:s3:::dbops-keep", "arn:aws:s3:::dbops-keep/*"]}]}'
echo "$STATE"
