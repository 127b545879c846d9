#!/usr/bin/env bash
# make e2e: the image, the chart and a workload on a real node; see README.md. Builds what is needed, then runs box.sh in
# namespaces of its own, and clears away what the kernel does not.
#
# KEEP=1 leaves the node up after the last step, until Ctrl-C. `run.sh --packages` only lists the Debian packages that it needs.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(containerd runc iptables nftables containernetworking-plugins iproute2 buildah musl-tools openssl curl ca-certificates)
commands=(containerd ctr runc iptables nft ip buildah musl-gcc openssl curl unshare /usr/lib/cni/ptp /etc/ssl/certs/ca-certificates.crt)

if [ "${1:-}" = --packages ]; then printf '%s\n' "${packages[@]}"; exit; fi

say() { printf 'e2e: %s\n' "$*"; }
# In CI everything should be there; elsewhere the reason is passed on to .ci/run's summary.
skip() {
  say "NOT RUN: $*"
  [ -z "${NOT_TESTED:-}" ] || echo "the image and the chart on a real node (make e2e): $*" >>"$NOT_TESTED"
  [ "${CI:-}" != true ]
  exit
}

[ "$(uname -s)" = Linux ] || skip "a node needs Linux"
case $(uname -m) in
  x86_64 | aarch64) target=$(uname -m)-unknown-linux-musl ;;
  *) skip "no image for $(uname -m)" ;;
esac
[ "$(id -u)" = 0 ] || skip "a node needs root (containers, networks, mounts; all in namespaces of their own)"
unshare --cgroup --net --mount --pid --uts --ipc --fork true 2>/dev/null || skip "namespaces cannot be made here"

missing() { for command in "${commands[@]}"; do [ -e "$command" ] || command -v "$command" >/dev/null || echo "$command"; done; }
[ -z "$(missing)" ] || skip "not installed: $(missing | xargs); on Debian: apt-get install ${packages[*]}"
for tool in cargo go; do command -v $tool >/dev/null || skip "$tool is missing; the README names where to get it"; done
if command -v rustup >/dev/null; then
  rustup target add "$target" >/dev/null 2>&1 || skip "rustup cannot add the target $target"
fi

# --- What runs: the binary as the Dockerfile builds it, the simulator, the cluster's programs, the other pods' program.
say "building"
built=${CARGO_TARGET_DIR:-target}
variable=${target//-/_}
env "CC_$variable=musl-gcc" "CARGO_TARGET_${variable^^}_LINKER=rust-lld" \
  cargo build --quiet --locked --release --target "$target" --bin zoho-operator
cargo build --quiet --locked -p zoho-simulator
PROGRAMS=$(cargo run --quiet --locked -p cluster-programs -- control-plane kubectl helm node)
[ -x "$PROGRAMS/kubelet" ]

WORK=$(mktemp -d "${TMPDIR:-/tmp}/zoho-e2e-XXXXXX")
name=${WORK##*/}
box=
# shellcheck disable=SC2317 # called by the trap
clear_away() {
  local code=$? controller
  trap - EXIT INT TERM
  # Its child is the first process of the namespaces and takes all the others along.
  if [ -n "$box" ]; then kill -KILL "$box" 2>/dev/null || true; wait "$box" 2>/dev/null || true; fi
  for controller in "${groups[@]}"; do
    for _ in $(seq 50); do
      [ -d "$controller" ] || break
      find "$controller" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.2
    done
  done
  for _ in $(seq 50); do rm -rf "$WORK" 2>/dev/null && break; sleep 0.2; done
  if [ -e "$WORK" ]; then say "left behind: $WORK"; fi
  exit "$code"
}
groups=()
trap clear_away EXIT
trap 'exit 130' INT TERM

mkdir "$WORK/bin" "$WORK/images"
cp -r charts/zoho-operator "$WORK/chart"
cp -r examples "$WORK/examples"
install "$built/debug/zoho-simulator" "$WORK/bin/"
(cd tests/e2e/pod && CGO_ENABLED=0 GOWORK=off go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$WORK/bin/pod" .)

# --- Images, without a daemon and without pulling: the Dockerfile's last stage from a folder in place of the first one.
say "building the images"
buildah() { command buildah --root "$WORK/storage" --runroot "$WORK/storage-run" --storage-driver vfs "$@"; }
image() { # NAME FOLDER ARGUMENTS: builds, and writes the archive that the node imports
  local name=$1 folder=$2
  shift 2
  buildah bud --quiet --isolation chroot --tag "$name:e2e" "$@" "$folder" >/dev/null
  buildah push --quiet "$name:e2e" "docker-archive:$WORK/images/$name.tar:docker.io/library/$name:e2e"
}
mkdir -p "$WORK/builder/out" "$WORK/pod"
cp "$built/$target/release/zoho-operator" /etc/ssl/certs/ca-certificates.crt "$WORK/builder/out/"
image zoho-operator . --build-context "builder=$WORK/builder" --target runtime --build-arg VERSION=e2e 2> >(grep -v TARGETARCH >&2)
# Two files and nothing else, for a user who is only a number.
container=$(buildah from --pull-never zoho-operator:e2e)
files=$(cd "$(buildah mount "$container")" && find . -type f | sort | xargs)
[ "$files" = "./etc/ssl/certs/ca-certificates.crt ./zoho-operator" ] || { say "the image holds $files"; exit 1; }
user=$(buildah inspect --format '{{.OCIv1.Config.User}}' "$container")
[ "$user" = 65532:65532 ] || { say "the image is run as $user"; exit 1; }
buildah umount "$container" >/dev/null
cp "$WORK/bin/pod" "$WORK/pod/"
printf 'FROM scratch\nCOPY pod /pod\nUSER 65532:65532\nENTRYPOINT ["/pod"]\nCMD ["pause"]\n' >"$WORK/pod/Dockerfile"
image pod "$WORK/pod"
say "image of the operator: $(stat -c %s "$WORK/images/zoho-operator.tar" | numfmt --to=iec) (binary $(
  stat -c %s "$WORK/builder/out/zoho-operator" | numfmt --to=iec), root certificates $(
  stat -c %s "$WORK/builder/out/ca-certificates.crt" | numfmt --to=iec))"
rm -rf "$WORK/storage" "$WORK/storage-run" "$WORK/builder" "$WORK/pod"

# --- Control groups: one beside ours for each hierarchy, entered before the namespaces are made, so that the node sees
# nothing above it.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  groups=("/sys/fs/cgroup/$name")
  for controller in cpu cpuset memory pids io; do
    grep -qw $controller /sys/fs/cgroup/cgroup.subtree_control || echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
  done
  mkdir "${groups[0]}"
else
  for hierarchy in /sys/fs/cgroup/*/; do
    [ -f "$hierarchy/tasks" ] || continue
    groups+=("$hierarchy$name")
    mkdir "$hierarchy$name"
    [ ! -f "${hierarchy}cpuset.cpus" ] || for file in cpuset.cpus cpuset.mems; do cat "$hierarchy$file" >"$hierarchy$name/$file"; done
  done
fi

say "starting a control plane and a node"
export WORK PROGRAMS KEEP="${KEEP:-}"
# shellcheck disable=SC2016 # expanded by the inner shell
bash -c 'for group in "$@"; do echo $$ >"$group/cgroup.procs"; done
  exec unshare --cgroup --net --mount --pid --uts --ipc --fork --kill-child --mount-proc --propagation private \
    tests/e2e/box.sh' box "${groups[@]}" &
box=$!
code=0
wait "$box" || code=$?
box=
exit "$code"
