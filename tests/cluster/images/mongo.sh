#!/bin/sh
# The entrypoint of the stand-in for MongoDB's official image. It understands the arguments of `mongod` that the chart gives
# and starts a FerretDB, which is told the same things in its own words, over a PostgreSQL of its own in the same folder.
set -eu
case ${1:-} in -* | '') set -- mongod "$@" ;; esac
[ "$1" = mongod ] || exec "$@"
shift
ip=127.0.0.1 port=27017 folder=/data/db
while [ $# -gt 0 ]; do
  name=${1%%=*}
  case $1 in
  --bind_ip_all | --ipv6 | --quiet | --nounixsocket) value= ;;
  --*=*) value=${1#*=} ;;
  *)
    value=${2:-}
    [ $# -lt 2 ] || shift
    ;;
  esac
  case $name in
  --bind_ip_all) ip= ;; # every address of either family
  --bind_ip) ip=$value ;;
  --port) port=$value ;;
  --dbpath) folder=$value ;;
  # Nothing that FerretDB has.
  --ipv6 | --quiet | --nounixsocket | --wiredTigerCacheSizeGB | --setParameter) ;;
  *)
    echo "error: the stand-in for MongoDB doesn't know $name; teach it in tests/cluster/images/mongo.sh" >&2
    exit 2
    ;;
  esac
  shift
done
tables=$folder/postgresql server=127.0.0.1:5433
if [ ! -s "$tables/PG_VERSION" ]; then
  initdb --pgdata="$tables" --username=ferretdb --encoding=UTF8 --locale=C.UTF-8 --auth=trust --no-sync
fi
postgres -D "$tables" -p "${server#*:}" -c listen_addresses="${server%:*}" -c unix_socket_directories= &
database=$!
until pg_isready --quiet --host="${server%:*}" --port="${server#*:}"; do
  kill -0 "$database" || exit 1
  sleep 0.2
done
ferretdb -listen "$ip:$port" -postgresql "postgres://ferretdb@$server/postgres" &
documents=$!
trap 'kill -TERM "$documents"; wait "$documents"; kill -INT "$database"; wait "$database"; exit 0' TERM INT
# Whichever of them ends, the container does.
while kill -0 "$documents" 2>/dev/null && kill -0 "$database" 2>/dev/null; do
  sleep 1 &
  wait $! || true
done
kill -INT "$database" 2>/dev/null || true
exit 1
