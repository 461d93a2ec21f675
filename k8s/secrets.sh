#!/bin/sh
# Prints the Secrets that k8s/base and the chart's values refer to, as YAML:
#
#   k8s/secrets.sh | kubectl create -f -
#
# `create` leaves what is there as it is. `apply` would give running stores new passwords, which they don't take.
# Arguments, all with defaults: the namespace, the name that the objects' names begin with, the cluster's DNS domain.
set -eu
umask 077

namespace=${1:-shop}
name=${2:-meshwork}
domain=${3:-cluster.local}
authority_days=3650
certificate_days=365
services="gateway users products orders notifications"

command -v openssl >/dev/null || { echo "secrets.sh needs openssl: install it and try again" >&2; exit 1; }

# Keys pass through files that nobody else can read, and that are gone with this process.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# secret NAME TYPE KEY=FILE…
secret() {
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\n' "$1" "$namespace"
  printf '  labels:\n    app.kubernetes.io/part-of: meshwork\ntype: %s\ndata:\n' "$2"
  shift 2
  for entry; do
    printf '  %s: %s\n' "${entry%%=*}" "$(openssl base64 -A <"${entry#*=}")"
  done
}

# account LABEL EMAIL: the credentials of a first account.
account() {
  password=$(openssl rand -hex 24)
  printf '{"email":"%s","password":"%s"}' "$2" "$password" >"$work/$1.json"
}

ec_key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

authority() {
  ec_key "$work/ca.key"
  openssl req -x509 -new -key "$work/ca.key" -days "$authority_days" -subj "/CN=$name authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -out "$work/ca.crt"
}

# alternatives HOST…: the names of a certificate, those first that peers are known by.
alternatives() {
  for host; do
    printf 'DNS:%s.%s.svc.%s,DNS:%s.%s.svc,DNS:%s.%s,DNS:%s,' \
      "$host" "$namespace" "$domain" "$host" "$namespace" "$host" "$namespace" "$host"
  done | sed 's/,$//'
}

# certificate OWNER HOST…: a key and a certificate by the authority.
certificate() {
  owner=$1
  shift
  ec_key "$work/$owner.key"
  {
    echo "subjectAltName=$(alternatives "$@")"
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=serverAuth,clientAuth"
    echo "basicConstraints=critical,CA:FALSE"
  } >"$work/$owner.ext"
  serial=$(openssl rand -hex 15)
  # The subject is no name that anybody checks, and it has room for 64 characters only.
  openssl req -new -key "$work/$owner.key" -subj "/CN=$owner" |
    openssl x509 -req -CA "$work/ca.crt" -CAkey "$work/ca.key" -set_serial "0x$serial" \
      -days "$certificate_days" -extfile "$work/$owner.ext" -out "$work/$owner.crt" 2>"$work/log" ||
    { cat "$work/log" >&2; exit 1; }
  secret "$name-tls-$owner" kubernetes.io/tls \
    "tls.crt=$work/$owner.crt" "tls.key=$work/$owner.key" "ca.crt=$work/ca.crt"
}

for store in postgresql redis nats; do
  password=$(openssl rand -hex 24)
  printf '%s' "$password" >"$work/$store"
done
secret "$name-passwords" Opaque "postgresql=$work/postgresql" "redis=$work/redis" "nats=$work/nats"

account staff staff@meshwork.local
for service in products orders notifications; do
  account "$service" "$service@services.meshwork.local"
done
secret "$name-credentials" Opaque "staff.json=$work/staff.json" "products.json=$work/products.json" \
  "orders.json=$work/orders.json" "notifications.json=$work/notifications.json"

openssl genpkey -algorithm ed25519 -out "$work/signing-key.pem"
secret "$name-signing-keys" Opaque "signing-key.pem=$work/signing-key.pem"

# No pod mounts the authority; whoever keeps its key elsewhere may delete this Secret.
authority
secret "$name-ca" kubernetes.io/tls "tls.crt=$work/ca.crt" "tls.key=$work/ca.key"
for service in $services; do
  certificate "$service" "$name-$service" "$name-$service-headless"
done
certificate nats "$name-nats"
