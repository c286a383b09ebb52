#!/bin/bash
# certificates.sh DIRECTORY: ca.pem of an own authority, and server.pem (certificate and key) for localhost,
# *.localhost and 127.0.0.1; other-ca.pem of an authority that signed nothing.
set -euo pipefail
mkdir -p "$1"
cd "$1"
umask 077
[ ! -s server.pem ] || exit 0
authority() { # authority NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout "$1.key" -out "$1.pem" \
    -subj "/CN=dbops test $1" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
}
authority ca
authority other-ca
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=localhost 2>/dev/null
cat >extensions <<'EXT'
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, DNS:*.localhost, IP:127.0.0.1
EXT
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out server.crt 2>/dev/null
cat server.crt server.key >server.pem
