#!/usr/bin/env bash
# The first process in the namespaces that run.sh makes: a control plane and a node with one address, 10.200.0.1, that
# nobody outside sees. Then the story. When this process ends, the kernel ends all others and takes mounts and networks
# away.
set -euo pipefail
: "${WORK:?run.sh sets it}" "${PROGRAMS:?run.sh sets it}"
here=$(cd "$(dirname "$0")" && pwd)
address=10.200.0.1
pods=10.200.1.0/24
services=10.200.2.0/24
log=$WORK/logs
mkdir -p "$log" "$WORK"/{pki,cni,lib,var-log}
# A proxy for the rest of the world is none for this network.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY KUBECONFIG EXIT_WITH_STDIN

# --- The machine's folders that a node writes to are hidden behind our own.
hostname node
umount -l -R /sys
mount -t sysfs sysfs /sys
if [ "$(awk -F: '$1 == 0 { v2 = 1 } $1 > 0 { v1 = 1 } END { print v1 ? 1 : 2 }' /proc/self/cgroup)" = 2 ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  # A group with controllers for its children must not have processes of its own.
  mkdir /sys/fs/cgroup/init
  while read -r process; do echo "$process" >/sys/fs/cgroup/init/cgroup.procs 2>/dev/null || true; done </sys/fs/cgroup/cgroup.procs
  for controller in cpu cpuset memory pids io; do echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control; done
else
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while IFS=: read -r number controllers _; do
    [ "$number" != 0 ] || continue
    case $controllers in name=*) folder=${controllers#name=} options=none,$controllers ;; *) folder=$controllers options=$controllers ;; esac
    mkdir "/sys/fs/cgroup/$folder"
    mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/$folder"
  done </proc/self/cgroup
fi
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
mount --bind "$WORK/lib" /var/lib
mount --bind "$WORK/var-log" /var/log
mkdir /var/lib/{kubelet,containerd,cni}
# The kubelet would set these for the whole machine: show it the values that it wants.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  [ -e "/proc/sys/${setting%=*}" ] || continue
  echo "${setting#*=}" >"/run/sysctl-${setting//[\/=]/-}"
  mount --bind "/run/sysctl-${setting//[\/=]/-}" "/proc/sys/${setting%=*}"
done
mount --make-rshared /
ip link set lo up
ip address add $address/32 dev lo
echo 1 >/proc/sys/net/ipv4/ip_forward

# --- Certificates and identities.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=cluster \
  -keyout "$WORK/pki/cluster.key" -out "$WORK/pki/cluster.crt" 2>/dev/null
certificate() { # NAME SUBJECT EXTENSION
  openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$WORK/pki/$1.key" -out "$WORK/pki/$1.csr" 2>/dev/null
  openssl x509 -req -days 2 -in "$WORK/pki/$1.csr" -CA "$WORK/pki/cluster.crt" -CAkey "$WORK/pki/cluster.key" \
    -CAcreateserial -extfile <(echo "$3") -out "$WORK/pki/$1.crt" 2>/dev/null
}
certificate apiserver /CN=kube-apiserver "subjectAltName=DNS:kubernetes.default.svc,IP:$address,IP:10.200.2.1"
certificate kubelet-client /O=system:masters/CN=kube-apiserver extendedKeyUsage=clientAuth
openssl genrsa -out "$WORK/pki/accounts.key" 2048 2>/dev/null
openssl rsa -in "$WORK/pki/accounts.key" -pubout -out "$WORK/pki/accounts.pub" 2>/dev/null
cat >"$WORK/pki/tokens.csv" <<END
admin,admin,1,"system:masters"
scheduler,system:kube-scheduler,2
proxy,system:kube-proxy,3
node,system:node:node,4,"system:nodes"
END
for identity in admin scheduler proxy node; do
  cat >"$WORK/$identity.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{ name: e2e, cluster: { server: "https://$address:6443", certificate-authority: $WORK/pki/cluster.crt } }]
users: [{ name: $identity, user: { token: $identity } }]
contexts: [{ name: e2e, context: { cluster: e2e, user: $identity } }]
current-context: e2e
END
done
export KUBECONFIG=$WORK/admin.kubeconfig PATH=$PROGRAMS:$WORK/bin:$PATH

start() { # NAME COMMAND…
  local name=$1
  shift
  "$@" >"$log/$name.log" 2>&1 </dev/null &
}
until_ready() { # NAME COMMAND…: within a minute
  local name=$1
  shift
  for _ in $(seq 300); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  echo "e2e: $name does not come up; its last lines:"
  tail -n 15 "$log"/*.log
  exit 1
}

# --- Control plane.
start etcd etcd --data-dir "$WORK/etcd" --unsafe-no-fsync --log-level error
start kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=$address --advertise-address=$address \
  --tls-cert-file="$WORK/pki/apiserver.crt" --tls-private-key-file="$WORK/pki/apiserver.key" --client-ca-file="$WORK/pki/cluster.crt" \
  --kubelet-client-certificate="$WORK/pki/kubelet-client.crt" --kubelet-client-key="$WORK/pki/kubelet-client.key" \
  --kubelet-preferred-address-types=InternalIP --service-account-issuer=https://kubernetes.default.svc \
  --service-account-signing-key-file="$WORK/pki/accounts.key" --service-account-key-file="$WORK/pki/accounts.pub" \
  --token-auth-file="$WORK/pki/tokens.csv" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --service-cluster-ip-range=$services --allow-privileged=true
until_ready kube-apiserver kubectl get --raw /readyz
start kube-controller-manager kube-controller-manager --kubeconfig="$KUBECONFIG" --bind-address=127.0.0.1 --leader-elect=false \
  --service-account-private-key-file="$WORK/pki/accounts.key" --root-ca-file="$WORK/pki/cluster.crt" \
  --use-service-account-credentials=true \
  --controllers='*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller,-service-lb-controller'
start kube-scheduler kube-scheduler --kubeconfig="$WORK/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false

# --- Node: containerd, kubelet with its own defaults, kube-proxy.
cat >"$WORK/containerd.toml" <<END
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pod:e2e"
  stream_server_address = "127.0.0.1"
  disable_apparmor = true
  # Without it no sandbox starts where the score of this process may not be lowered.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$WORK/cni"
END
cat >"$WORK/cni/10-ptp.conflist" <<END
{ "cniVersion": "0.4.0", "name": "pods", "plugins": [{ "type": "ptp", "ipMasq": false,
  "ipam": { "type": "host-local", "ranges": [[{ "subnet": "$pods" }]], "routes": [{ "dst": "0.0.0.0/0" }] } }] }
END
: >"$WORK/resolv.conf"
cat >"$WORK/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
address: $address
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $WORK/pki/cluster.crt } }
authorization: { mode: Webhook }
protectKernelDefaults: true
volumePluginDir: /var/lib/kubelet/plugins/exec
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
resolvConf: $WORK/resolv.conf
# A disk that is nearly full is the machine's business.
evictionHard: { memory.available: 1Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0% }
imageGCHighThresholdPercent: 100
END
cat >"$WORK/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
oomScoreAdj: 0
bindAddress: $address
hostnameOverride: node
clientConnection: { kubeconfig: $WORK/proxy.kubeconfig }
detectLocalMode: ClusterCIDR
clusterCIDR: $pods
conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }
END
start containerd containerd --config "$WORK/containerd.toml"
until_ready containerd ctr -n k8s.io version
for archive in "$WORK"/images/*.tar; do ctr -n k8s.io images import "$archive" >>"$log/images.log" 2>&1; done
start kubelet kubelet --config="$WORK/kubelet.yaml" --kubeconfig="$WORK/node.kubeconfig" --hostname-override=node --node-ip=$address
start kube-proxy kube-proxy --config="$WORK/proxy.yaml"

# --- Zoho, by HTTPS: to another machine the operator speaks nothing else.
start simulator zoho-simulator --listen $address:8443 --tls-name $address --ca-out "$WORK/zoho.crt" \
  --token-life "$("$here/story.sh" token-life)"
until_ready simulator curl --silent --fail --cacert "$WORK/zoho.crt" https://$address:8443/_sim/stats
until_ready node kubectl wait --for=condition=Ready node/node --timeout=1s
until_ready "ServiceAccount default" kubectl get serviceaccount default

code=0
"$here/story.sh" || code=$?
if [ -n "$KEEP" ]; then
  echo "e2e: left up until Ctrl-C: nsenter -a -t \$(pgrep -f tests/e2e/box.sh | tail -n 1) env KUBECONFIG=$KUBECONFIG PATH=$PATH bash"
  sleep infinity
fi
exit "$code"
