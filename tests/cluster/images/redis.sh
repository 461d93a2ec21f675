#!/bin/sh
# The entrypoint of the stand-in for Redis' official image: arguments that begin with a dash go to the server.
set -eu
case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac
exec "$@"
