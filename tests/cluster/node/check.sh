#!/bin/bash
# Says what keeps this machine from running a node, and fails then.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cannot() { die "$*; to test on a cluster that is already there: cargo xtask cluster test --context NAME --image NAME:TAG"; }

[ "$(uname -s)" = Linux ] || cannot "a cluster of one's own needs Linux"
[ "$(id -u)" = 0 ] || cannot "a cluster of one's own needs root, for namespaces, mounts and cgroups"
has_capability 21 || cannot "CAP_SYS_ADMIN is missing: a container has it when it is run as privileged"
has_capability 12 || cannot "CAP_NET_ADMIN is missing: a container has it when it is run as privileged"
for root in $(cgroup_roots); do
  [ -w "$root/cgroup.procs" ] || cannot "$root isn't writable: a container may write it when it is run as privileged"
done
[ -n "${root:-}" ] || cannot "no cgroups are mounted at /sys/fs/cgroup"
modprobe -q br_netfilter 2>/dev/null || true # it may be part of the kernel
[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] ||
  cannot "the kernel lacks br_netfilter, without which pods of one node don't reach each other by Service; load that module"
