#!/bin/sh
# The entrypoint of the stand-in for PostgreSQL's official image, as far as the chart makes use of it: arguments that begin
# with a dash go to the server, and POSTGRES_PASSWORD is the password of the user `postgres` from the first start on.
set -eu
case ${1:-} in -* | '') set -- postgres "$@" ;; esac
[ "$1" = postgres ] || exec "$@"
shift
export PGDATA
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "error: the database is empty and POSTGRES_PASSWORD isn't set; set it" >&2
    exit 1
  fi
  mkdir -p "$PGDATA"
  # Through a pipe, for which the file system needn't be writable.
  printf '%s\n' "$POSTGRES_PASSWORD" | initdb --username=postgres --pwfile=/dev/stdin --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
fi
exec postgres -c listen_addresses='*' "$@"
