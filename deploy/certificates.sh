#!/usr/bin/env bash
# Certificates of a consortium: a CA and the coordinator's server certificate.
#   certificates.sh DIR HOST       makes DIR/ca.key, ca.crt, server.key, server.crt; renews the server's if the CA is there
# ca.key stays offline with the coordinator; ca.crt goes to every hospital; server.* go to the coordinator's machine.
set -euo pipefail
if [ $# -ne 2 ]; then
    echo "usage: certificates.sh DIR HOST    (the name or address under which hospitals reach the coordinator)" >&2
    exit 2
fi
dir=$1 host=$2
umask 077
mkdir -p "$dir"
if [ ! -e "$dir/ca.key" ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out "$dir/ca.key"
    openssl req -x509 -new -key "$dir/ca.key" -sha256 -days 1825 -subj "/O=cohortmix/CN=cohortmix CA" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" -out "$dir/ca.crt"
fi
# nginx speaks to the SuperLink under the name localhost, hospitals to nginx under HOST.
case $host in
    *[!0-9.]*) name="DNS:$host" ;;
    *) name="IP:$host" ;;
esac
extensions=$(mktemp)
trap 'rm -f "$extensions" "$dir/server.csr"' EXIT
printf 'subjectAltName=%s,DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n' \
    "$name" > "$extensions"
openssl ecparam -name prime256v1 -genkey -noout -out "$dir/server.key"
openssl req -new -key "$dir/server.key" -subj "/CN=$host" -out "$dir/server.csr"
openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 397 -sha256 \
    -extfile "$extensions" -out "$dir/server.crt" 2>/dev/null
chmod 644 "$dir/ca.crt" "$dir/server.crt"
echo "$dir/ca.crt: for every hospital; $dir/server.crt and server.key: for the coordinator; keep ca.key offline"
