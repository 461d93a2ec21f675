#!/bin/bash
# init.sh SLOT: pid 1 of the node's namespaces. It sets them up, starts the components in order, and reaps.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
addresses_of_slot "$1"
bin=$MESHWORK_CLUSTER_BIN
socket=/run/containerd/containerd.sock
cd "$state"
umask 022 # what containers see is made by containerd and the kubelet, and their users aren't root

# --- cgroups: the pods' are made by the kubelet below the cluster's; the components are in one beside them
if [ -e /sys/fs/cgroup/cgroup.subtree_control ]; then
  # In version 2 a group has the controllers that its parent gives; the kubelet looks whether it has these.
  for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    case $controller in cpuset | cpu | io | memory | hugetlb | pids)
      echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control ||
        die "the controller $controller can't be given to new cgroups: in a container, move its processes from the root cgroup to another first" ;;
    esac
  done
fi
for root in $(cgroup_roots); do
  mkdir -p "$root/$cgroup/node"
  case $root in
  */cpuset*) for part in "$cgroup" "$cgroup/node"; do
    for file in cpuset.cpus cpuset.mems; do cat "$root/$file" > "$root/$part/$file"; done
  done ;;
  esac
  echo 0 > "$root/$cgroup/node/cgroup.procs"
done

# --- mounts
mount --make-rshared / # pods get what the kubelet mounts later
# The kubelet wants these at values of its own. It gets copies to set, so that the machine keeps its values.
mkdir -p config/sysctl
while read -r path value; do
  [ -e "/proc/sys/$path" ] || continue
  echo "$value" > "config/sysctl/${path//\//.}"
  mount --bind "config/sysctl/${path//\//.}" "/proc/sys/$path"
done <<SYSCTL
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTL
# What belongs to the machine's own services is out of sight, and nothing is left in it.
for folder in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $folder; done
mkdir -p /run/lock /run/tmp/volumes /var/lib/kubelet /var/log/pods
mount --bind "$state/kubelet" /var/lib/kubelet
mount --bind "$state/volumes" /run/tmp/volumes
mount --bind "$state/log/pods" /var/log/pods

# --- network
# The machine's resolver can't be reached from here. Names outside are refused at once, which ends pulls of images that aren't
# loaded; to wait for an answer would hold up the pods that have theirs.
echo "nameserver $node_ip" > config/resolv.conf
[ ! -e /etc/resolv.conf ] || mount --bind config/resolv.conf /etc/resolv.conf
ip link set lo up
until_true 10 ip link show eth0
ip address add "$node_ip/30" dev eth0
ip link set eth0 up
ip route add default via "$host_ip"
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1

# --- components, as early as what they need is there: they come back late from a start that was too early
"$here/config.sh" "$slot"
names=()
start() { # NAME COMMAND...
  "${@:2}" > "$state/log/$1.log" 2>&1 &
  names[$!]=$1
}
start etcd "$bin/kube" etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level=warn \
  --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:0
start apiserver "$bin/kube" kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
  --bind-address="$node_ip" --advertise-address="$node_ip" --secure-port=$api_port --service-cluster-ip-range="$service_cidr" \
  --tls-cert-file="$state/pki/apiserver.crt" --tls-private-key-file="$state/pki/apiserver.key" \
  --authorization-mode=Node,RBAC --token-auth-file="$state/pki/tokens.csv" --enable-admission-plugins=NodeRestriction \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file="$state/pki/service-accounts.key" --service-account-signing-key-file="$state/pki/service-accounts.key" \
  --kubelet-client-certificate="$state/pki/kubelet-client.crt" --kubelet-client-key="$state/pki/kubelet-client.key" \
  --kubelet-preferred-address-types=InternalIP
start containerd containerd --config "$state/config/containerd.toml"
until_true 60 ctr --address $socket version || die "containerd isn't up after 60 s"
CONTAINERD_SNAPSHOTTER=$(cat "$state/config/snapshotter")
export CONTAINERD_SNAPSHOTTER
for image in "$MESHWORK_CLUSTER_IMAGES"/*.tar; do
  ctr --address $socket --namespace k8s.io images import "$image"
done
# Also the roles that the others have by default must be in.
until_true 100 api_is_ready || die "the API server isn't ready after 100 s"
quick=(--kube-api-qps=1000 --kube-api-burst=1000)
start controller-manager "$bin/kube" kube-controller-manager --kubeconfig="$state/kubeconfigs/controller-manager" "${quick[@]}" \
  --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials \
  --service-account-private-key-file="$state/pki/service-accounts.key" --root-ca-file="$state/pki/ca.crt" \
  --node-monitor-period=2s --node-monitor-grace-period=20s --flex-volume-plugin-dir="$state/kubelet/volume-plugins"
start scheduler "$bin/kube" kube-scheduler --kubeconfig="$state/kubeconfigs/scheduler" --bind-address=127.0.0.1 --leader-elect=false
start kubelet "$bin/kube" kubelet --config="$state/config/kubelet.yaml" --kubeconfig="$state/kubeconfigs/kubelet" \
  --hostname-override=node --node-ip="$node_ip" --node-labels=topology.kubernetes.io/zone=zone-a,topology.kubernetes.io/region=region
start proxy "$bin/kube" kube-proxy --kubeconfig="$state/kubeconfigs/proxy" --hostname-override=node --proxy-mode=iptables \
  --cluster-cidr="$pod_cidr" --bind-address="$node_ip" --healthz-bind-address=127.0.0.1:10256 --metrics-bind-address=127.0.0.1:10249 \
  --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s
start coredns "$bin/coredns" -conf "$state/config/Corefile"

# --- a component that ends is named in the log, and ends the node: half a cluster makes tests fail for odd reasons
while :; do
  status=0
  wait -n -p ended || status=$?
  [ -z "${ended:-}" ] || [ -z "${names[$ended]:-}" ] || die "${names[$ended]} ended with status $status; see $state/log/${names[$ended]}.log"
  sleep 0.2 # nothing but orphans
done
