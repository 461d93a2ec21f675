#!/bin/bash
# load-image.sh IMAGE.tar [NAME:TAG...]: puts an image into the running node; more names are given to the one image in it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
CONTAINERD_SNAPSHOTTER=$(cat "$state/config/snapshotter")
export CONTAINERD_SNAPSHOTTER
ctr() { "$here/enter.sh" ctr --address /run/containerd/containerd.sock --namespace k8s.io "$@"; }
archive=$(realpath "$1")
shift
ctr images import "$archive"
[ $# -gt 0 ] || exit 0
name=$(tar -xOf "$archive" manifest.json | sed -n 's/.*"RepoTags":\["\([^"]*\)".*/\1/p')
[ -n "$name" ] || die "$archive names no image"
for other in "$@"; do ctr images tag --force "$name" "$other"; done
