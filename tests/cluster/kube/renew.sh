#!/bin/bash
# renew.sh vX.Y.Z: writes go.mod and go.sum for that version of Kubernetes.
#
# k8s.io/kubernetes isn't made to be depended on: it takes its own parts from folders beside it. Each part is published as
# a module, too, as v0.Y.Z; here each is replaced by that. All else keeps the version that Kubernetes was released with.
set -euo pipefail
version=${1:?usage: renew.sh vX.Y.Z}
cd "$(dirname "$0")"
upstream=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
sums=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/go.sum
parts() { sed -n 's#^[[:space:]]*\(k8s.io/[a-z0-9-]*\) => ./staging/.*#\1#p' "$upstream"; }
{
  printf 'module meshwork.test/kube\n\n'
  grep -E '^(go|godebug) ' "$upstream"
  printf '\nrequire k8s.io/kubernetes %s\n\n' "$version"
  sed -n '/^require (/,/^)/p' "$upstream"
  printf '\nreplace (\n'
  parts | while read -r part; do printf '\t%s => %s v0.%s\n' "$part" "$part" "${version#v1.}"; done
  printf ')\n'
} > go.mod
install -m 644 "$sums" go.sum
GOFLAGS=-mod=mod go mod tidy
echo "go.mod is of Kubernetes $version; set the same version in crates/xtask/src/cluster/kit.rs" >&2
