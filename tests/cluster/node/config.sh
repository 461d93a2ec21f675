#!/bin/bash
# config.sh SLOT: writes the configuration of what runs on the node. Called in the node's namespaces.
set -euo pipefail
. "$(dirname "$0")/common.sh"
addresses_of_slot "$1"
cd "$state/config"

# Layers are stacked by the kernel where the file system below allows it, as another overlay doesn't.
snapshotter=overlayfs
mkdir -p probe/{lower,upper,work,merged}
if mount -t overlay overlay -o lowerdir=probe/lower,upperdir=probe/upper,workdir=probe/work probe/merged; then
  umount probe/merged
else
  echo "no overlay in $state: images are copied for every container, which takes longer"
  snapshotter=native
fi
rm -rf probe
echo "$snapshotter" > snapshotter

plugins=/usr/lib/cni # Debian's; elsewhere they are in /opt/cni/bin
[ -x $plugins/bridge ] || plugins=/opt/cni/bin
mkdir -p cni
cat > cni/10-bridge.conflist <<CNI
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "$pod_cidr"}]], "routes": [{"dst": "0.0.0.0/0"}]}
}]}
CNI
cat > containerd.toml <<CONTAINERD
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"] # it would make /opt/containerd
root = "$state/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "meshwork.test/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = $restrict_oom
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$plugins"
    conf_dir = "$state/config/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
CONTAINERD
cat > kubelet.yaml <<KUBELET
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: $state/pki/ca.crt}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
resolvConf: $state/config/resolv.conf
clusterDomain: cluster.local
clusterDNS: [$node_ip]
volumePluginDir: $state/kubelet/volume-plugins
# A disk that is nearly full is the machine's matter: pods aren't evicted, images aren't collected.
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%, imagefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
maxPods: 200
KUBELET
# Names outside of the cluster don't resolve: pods have no way out.
cat > Corefile <<COREDNS
.:53 {
  bind $node_ip
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $state/kubeconfig
    ttl 1
  }
}
COREDNS
