#!/bin/bash
# Prints a default StorageClass and the volumes it has to give: folders of the state folder. Nothing makes volumes on
# demand, because the one provisioner that Kubernetes itself has makes them for root alone.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cat <<CLASS
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
CLASS
for n in $(seq 32); do
  # For every user: a group of the pod's (fsGroup) isn't given to folders of the node.
  mkdir -m 777 -p "$state/volumes/$n"
  chmod 777 "$state/volumes/$n"
  # The node sees them below /run/tmp: what is deleted with its claim must be below some `/tmp/`.
  cat <<VOLUME
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: volume-$n}
spec:
  storageClassName: standard
  capacity: {storage: 8Gi}
  accessModes: [ReadWriteOnce, ReadWriteMany]
  persistentVolumeReclaimPolicy: Delete
  hostPath: {path: /run/tmp/volumes/$n}
VOLUME
done
