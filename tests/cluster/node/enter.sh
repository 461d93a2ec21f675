#!/bin/bash
# enter.sh COMMAND...: runs it in the running node's namespaces.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ -n "$(slot_of_state)" ] && [ -e "$state/nspid" ] || die "no cluster runs in $state; start one with cargo xtask cluster up"
exec nsenter --target "$(cat "$state/nspid")" --mount --net --pid -- "$@"
