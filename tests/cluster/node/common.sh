# Sourced by the scripts beside it.

# Where a running cluster keeps all it writes. Its path is the cluster's identity: see `slot_of_state`.
state=${MESHWORK_CLUSTER_STATE:?is set by cargo xtask cluster}

# A proxy for the world has no business between the parts of the cluster.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

die() {
  echo "error: $*" >&2
  exit 1
}

# Several clusters may run, each in a slot that is a number: the host's end of its link is named by it, its cgroup too.
slots=60

# All addresses are of the range that RFC 2544 reserves for tests: no network of the machine's uses them.
addresses_of_slot() {
  slot=$1
  link=mwcluster$slot
  cgroup=meshwork-cluster-$slot
  host_ip=198.19.255.$((4 * slot + 1))
  node_ip=198.19.255.$((4 * slot + 2))
  pod_cidr=198.18.$slot.0/24
  service_cidr=198.19.$slot.0/24
  api_ip=198.19.$slot.1
  api_port=6443
}

# The slot of the cluster that has this state folder, or nothing. The link says whose it is, so that a cluster is found
# even when somebody has removed its folder.
slot_of_state() {
  local n
  for n in $(seq 0 $((slots - 1))); do
    if [ "$(cat "/sys/class/net/mwcluster$n/ifalias" 2>/dev/null)" = "$state" ]; then echo "$n"; return; fi
  done
}

# has_capability NUMBER, as in capability.h
has_capability() {
  local effective
  effective=$((0x$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)))
  [ $(((effective >> $1) & 1)) = 1 ]
}

# Each cgroup hierarchy that controls something: one for version 2, one a controller for version 1.
cgroup_roots() {
  if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    echo /sys/fs/cgroup
  else
    awk '$3 == "cgroup" { print $2 }' /proc/mounts | sort -u
  fi
}

# All hierarchies: beside those of version 1 the kubelet makes groups in one of version 2 that controls nothing.
cgroup_mounts() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts | sort -u; }

# until_true SECONDS COMMAND...: tries it until it succeeds, for that long at most.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# Asks the API server, which answers anybody about its own health.
api_is_ready() {
  curl --silent --fail --max-time 5 --cacert "$state/pki/ca.crt" "https://$node_ip:$api_port/readyz"
}
