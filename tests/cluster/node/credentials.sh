#!/bin/bash
# credentials.sh SLOT: makes the cluster's certificates, tokens and kubeconfigs in the state folder.
set -euo pipefail
. "$(dirname "$0")/common.sh"
addresses_of_slot "$1"
umask 077
cd "$state/pki"

# Elliptic curves: keys of RSA take a second each to make.
key() { openssl ecparam -genkey -name prime256v1 -noout -out "$1.key"; }
signed() { # NAME SUBJECT EXTENSIONS
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile <(echo "$3") -out "$1.crt" 2>/dev/null
}
key ca
openssl req -x509 -new -key ca.key -subj /CN=meshwork-cluster -days 30 -addext keyUsage=critical,keyCertSign -out ca.crt
chmod 644 ca.crt
# Pods reach the API server by its Service's address or name, we by the node's address.
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
signed apiserver /CN=kube-apiserver "subjectAltName=$names,IP:$node_ip,IP:$api_ip,IP:127.0.0.1
extendedKeyUsage=serverAuth"
# What the API server shows the kubelet, when somebody wants logs or to run something.
signed kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client extendedKeyUsage=clientAuth
key service-accounts

user() { # FILE USER GROUP: a token that stands for the user, in a kubeconfig
  local token
  token=$(openssl rand -hex 16)
  echo "$token,$2,$2,$3" >> tokens.csv
  cat > "$1" <<KUBECONFIG
apiVersion: v1
kind: Config
clusters: [{name: meshwork, cluster: {server: "https://$node_ip:$api_port", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: user, user: {token: $token}}]
contexts: [{name: meshwork, context: {cluster: meshwork, user: user}}]
current-context: meshwork
KUBECONFIG
}
user "$state/kubeconfig" admin system:masters
user "$state/kubeconfigs/controller-manager" system:kube-controller-manager ""
user "$state/kubeconfigs/scheduler" system:kube-scheduler ""
user "$state/kubeconfigs/kubelet" system:node:node system:nodes
user "$state/kubeconfigs/proxy" system:kube-proxy ""
