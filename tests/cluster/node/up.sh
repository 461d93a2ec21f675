#!/bin/bash
# Starts a Kubernetes node of one machine and returns when it is Ready. Everything of it lives in namespaces and a cgroup
# of its own (see init.sh) and in the state folder; `down.sh` removes them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
export MESHWORK_CLUSTER_STATE MESHWORK_CLUSTER_BIN MESHWORK_CLUSTER_IMAGES
bin=${MESHWORK_CLUSTER_BIN:?is set by cargo xtask cluster}
: "${MESHWORK_CLUSTER_IMAGES:?is set by cargo xtask cluster}"
start=$(date +%s%N)
took() { printf '%5.1f s: %s\n' "$((($(date +%s%N) - start) / 100000000))e-1" "$1" >&2; }

"$here/check.sh"
[ -z "$(slot_of_state)" ] || die "a cluster in $state runs already"

# --- the state folder: nobody else's, because names in a temporary folder can be guessed
umask 077
case $state in
/run/* | /var/lib/* | /var/log/*) die "$state is where the node has folders of its own; set another TMPDIR" ;;
/*) ;;
*) die "$state isn't an absolute path" ;;
esac
mkdir -p "$state"
[ -O "$state" ] && [ ! -L "$state" ] || die "$state isn't a folder of this user's; remove it or set another TMPDIR"
chmod 755 "$state" # pods run as other users, and their volumes are below it
mkdir -p "$state"/{pki,kubeconfigs,log/pods,volumes,config,containerd,kubelet}
chmod 755 "$state"/{volumes,kubelet,log,log/pods}

# --- a slot: making the link takes it, and fails when another cluster was quicker
for n in $(seq 0 $((slots - 1))); do
  ip link add "mwcluster$n" type veth peer name "mwnode$n" 2>/dev/null || continue
  addresses_of_slot "$n"
  break
done
[ -n "${slot:-}" ] || die "no link could be made: all $slots names from mwcluster0 are in use, or the kernel has no veth"
ip link set "$link" alias "$state"
echo "$slot" > "$state/slot"
# From here on something would stay behind.
give_up() {
  trap - EXIT
  echo "error: $1; the last lines of the logs:" >&2
  tail -n 5 "$state"/log/*.log >&2 || true
  KEEP_LOGS=$state.log "$here/down.sh" || true
  echo "all logs are in $state.log" >&2
  exit 1
}
trap 'give_up "the start was interrupted"' EXIT

"$here/credentials.sh" "$slot"

# --- the node
restrict_oom=true
if has_capability 24; then restrict_oom=false; fi # CAP_SYS_RESOURCE: else runc may not lower oom_score_adj, and starts nothing
export restrict_oom
# Killing unshare kills pid 1 of the namespaces, and the kernel then kills all that is in them.
setsid unshare --mount --pid --net --fork --mount-proc --kill-child "$here/init.sh" "$slot" \
  >"$state/log/node.log" 2>&1 </dev/null &
unshare=$!
first_process() { node=$(xargs < "/proc/$unshare/task/$unshare/children") && [ -n "$node" ]; }
until_true 10 first_process || give_up "unshare started nothing"
echo "$node" > "$state/nspid"
ip link set "mwnode$slot" netns "$node" name eth0
ip address add "$host_ip/30" dev "$link"
ip link set "$link" up
ip route add "$pod_cidr" via "$node_ip"
ip route add "$service_cidr" via "$node_ip"

# wait_for SECONDS WHAT COMMAND...: a node that has ended isn't waited for.
ended() { ! kill -0 "$node" 2>/dev/null; }
wait_for() {
  local limit=$1 what=$2
  shift 2
  either() { ended || "$@"; }
  until_true "$limit" either "$@" || give_up "after $limit s: not yet $what"
  ! ended || give_up "the node ended before it was $what"
  took "$what"
}
kubectl() { "$bin/kubectl" --kubeconfig "$state/kubeconfig" --request-timeout=10s "$@"; }
node_is_ready() { kubectl wait --for=condition=Ready node/node --timeout=1s; }
pods_can_be_made() { kubectl get serviceaccount default; }

wait_for 120 "API server ready" api_is_ready
"$here/storage.sh" | kubectl create -f - >/dev/null || give_up "the volumes could not be made"
wait_for 120 "node ready" node_is_ready
wait_for 60 "ready for pods" pods_can_be_made
trap - EXIT
