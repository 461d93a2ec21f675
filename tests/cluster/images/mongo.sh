#!/bin/sh
# The entrypoint of the stand-in for MongoDB's official image. It understands the arguments of `mongod` that the chart gives
# and starts a FerretDB over SQLite, which is told the same things in its own words.
set -eu
case ${1:-} in -* | '') set -- mongod "$@" ;; esac
[ "$1" = mongod ] || exec "$@"
shift
ip=127.0.0.1 port=27017 folder=/data/db
while [ $# -gt 0 ]; do
  name=${1%%=*}
  case $1 in
  --bind_ip_all | --quiet | --nounixsocket) value= ;;
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
  --quiet | --nounixsocket | --wiredTigerCacheSizeGB | --setParameter) ;;
  *)
    echo "error: the stand-in for MongoDB doesn't know $name; teach it in tests/cluster/images/mongo.sh" >&2
    exit 2
    ;;
  esac
  shift
done
exec ferretdb -listen "$ip:$port" -sqlite "$folder"
