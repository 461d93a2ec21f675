#!/bin/bash
# Prints what the state folder holds: `none`, a cluster that is `up`, or one that is `broken`, which down.sh removes.
set -euo pipefail
. "$(dirname "$0")/common.sh"
slot=$(slot_of_state)
if [ -z "$slot" ]; then
  if [ -d "$state" ]; then echo broken; else echo none; fi
  exit
fi
addresses_of_slot "$slot"
node_is_ready() {
  "$MESHWORK_CLUSTER_BIN/kubectl" --kubeconfig "$state/kubeconfig" wait --for=condition=Ready node/node --timeout=1s
}
if kill -0 "$(cat "$state/nspid")" && until_true 5 api_is_ready && until_true 20 node_is_ready; then
  echo up
else
  echo broken
fi 2>/dev/null
