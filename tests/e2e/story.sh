#!/usr/bin/env bash
# What happens on the node: installed, used by a pod over two renewals, killed, upgraded, uninstalled. Runs within box.sh.
set -euo pipefail
# Short, so that two renewals take minutes: a token is renewed after half of its life at the latest. The kubelet needs up
# to 72 s to show a pod a changed Secret, so the former token has to live that long, and it lives for as long again.
life=300
if [ "${1:-}" = token-life ]; then echo ${life}s; exit; fi

here=$(cd "$(dirname "$0")" && pwd)
system=zoho-operator-system
refresh_token=1000.simulated.refresh
cd "$WORK"

say() { printf 'e2e: %5ds  %s\n' "$SECONDS" "$*"; }
fail() { say "FAILED: $*"; exit 1; }
equal() { [ "$2" = "$3" ] || fail "$1: expected '$3', found '$2'"; }
wait_for() { # SECONDS WHAT COMMAND…: prints what the command printed when it succeeded
  local end=$((SECONDS + $1)) what=$2 answer
  shift 2
  while [ $SECONDS -lt $end ]; do
    if answer=$("$@" 2>/dev/null); then echo "$answer"; return; fi
    sleep 0.5
  done
  fail "still not: $what" >&2
}

report() {
  local code=$? pod
  [ $code != 0 ] || return 0
  set +e
  echo "----- what is there"
  kubectl get pods,zcred,zledger,secrets,leases -A -o wide
  kubectl describe pods -n $system
  kubectl describe pods,zcred -n patching
  kubectl get events -A --sort-by=.lastTimestamp | tail -n 30
  for pod in $(kubectl get pods -n $system -o name); do
    echo "----- log of $pod"
    kubectl logs -n $system "$pod" --previous --tail=30 2>/dev/null
    kubectl logs -n $system "$pod" --tail=60
  done
  echo "----- log of the workload"
  kubectl logs -n patching deployment/patch-report --tail=20
  echo "----- requests to Zoho"
  simulator log
  echo
  exit $code
}
trap report EXIT

simulator() { curl --silent --cacert "$WORK/zoho.crt" "https://10.200.0.1:8443/_sim/$1"; }
mints() { simulator "stats?refresh_token=$refresh_token" | sed -n 's/.*"mints":\([0-9]*\).*/\1/p'; }
# The workload's log: when it first had a token, by number; how often it called, how often in vain.
seen() { kubectl logs -n patching deployment/patch-report | awk -v n="$1" '$2 == "token" && $3 == n { print $1; found = 1 } END { exit !found }'; }
calls() { kubectl logs -n patching deployment/patch-report | awk '$2 == "calls" { print $3, $5 }' | tail -n 1; }
annotation() { kubectl get secret patch-manager-token -n patching -o "jsonpath={.metadata.annotations.zoho-operator\.dev/$1}"; }
since() { awk -v a="$(date -d "$1" +%s.%N)" -v b="$(date -d "$2" +%s.%N)" 'BEGIN { printf "%.1f", b - a }'; }
rotated() { # NUMBER: waits until the workload has that token, and prints the seconds from its mint to the file
  local at
  at=$(wait_for $((life / 2 + 150)) "the workload has token $1" seen "$1")
  since "$(annotation issued-at)" "$at"
}
pods() { kubectl get pods -n $system -l app.kubernetes.io/name=zoho-operator "$@"; }
container() { kubectl get pod -n $system "$1" -o "jsonpath={.status.containerStatuses[0]$2}"; }
# The sum of a metric over all of the operator's pods.
metric() {
  local address
  for address in $(pods -o jsonpath='{.items[*].status.podIP}'); do curl --silent "http://$address:8080/metrics"; done |
    awk -v name="zoho_operator_$1" '{ sub(/\{.*\}/, "", $1) } $1 == name { sum += $2 } END { print sum + 0 }'
}
settled() { kubectl rollout status deployment/zoho-operator -n $system --timeout=120s >/dev/null; }

# --- Install
say "a node is there: $(kubectl get node node -o jsonpath='{.status.nodeInfo.kubeletVersion}, {.status.nodeInfo.containerRuntimeVersion}')"
for namespace in $system patching; do
  kubectl create namespace "$namespace" >/dev/null
  kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
  kubectl create configmap zoho-ca -n "$namespace" --from-file=ca.crt="$WORK/zoho.crt" >/dev/null
done
began=$(date -Ins)
helm install zoho-operator chart -n $system -f "$here/values.yaml" >/dev/null
settled
say "the chart is installed and its pods are ready after $(since "$began" "$(date -Ins)") s"
equal "user of the operator" "$(for p in $(pgrep -x zoho-operator); do awk '/^Uid:/ { print $2 }' "/proc/$p/status"; done | sort -u)" 65532

# --- Use: the examples, with the simulator's client and a program for the shell that they have.
sed -e 's/replace-with-your-client-id/1000.SIMULATED/' -e 's/replace-with-your-client-secret/simulated-client-secret/' \
  -e "s/replace-with-your-refresh-token/$refresh_token/" "$WORK/examples/quickstart.yaml" | kubectl apply -n patching -f - >/dev/null
began=$(date -Ins)
kubectl wait zcred/patch-manager -n patching --for=condition=Ready --timeout=60s >/dev/null
say "a credential has its first token after $(since "$began" "$(date -Ins)") s"
began=$(date -Ins)
helm test zoho-operator -n $system --timeout 60s >test.log 2>&1 || { cat test.log; kubectl logs -n $system zoho-operator-check; fail "helm test"; }
say "helm test finds everything that the operator needs, within $(since "$began" "$(date -Ins)") s"
kubectl patch --local -f "$WORK/examples/workload.yaml" --type=json --patch-file="$here/workload-patch.yaml" -o yaml |
  kubectl apply -n patching -f - >/dev/null
began=$(date -Ins)
kubectl rollout status deployment/patch-report -n patching --timeout=60s >/dev/null
say "a workload that mounts it is ready after $(since "$began" "$(date -Ins)") s, and calls 5 times a second"
wait_for 20 "the workload has a token" seen 1 >/dev/null
equal "requests for tokens" "$(mints)" 1

first=$(rotated 2)
say "renewed while in use: the file in the pod followed $first s after the mint; calls, failed: $(calls)"

equal "replicas that lead" "$(metric leader)" 1
equal "requests for tokens that the metrics count" "$(metric mints_total)" 2

# --- Crash: the container of the operator that does the work is killed by the kernel, then its pod is deleted.
leader() {
  local holder
  holder=$(kubectl get lease -n $system -o jsonpath='{.items[*].spec.holderIdentity}')
  for pod in $(pods -o jsonpath='{.items[*].metadata.name}'); do
    case "$holder" in "" | "$pod"*) echo "$pod"; return ;; esac
  done
  return 1
}
works() { # LABEL: the operator does what a changed spec asks for, which costs no mint
  kubectl patch zcred patch-manager -n patching --type=merge -p "{\"spec\":{\"target\":{\"labels\":{\"$1\":\"seen\"}}}}" >/dev/null
  began=$(date -Ins)
  labelled() { kubectl get secret patch-manager-token -n patching -o "jsonpath={.metadata.labels.$1}" | grep -q seen; }
  wait_for 60 "the target has label $1" labelled "$1" >/dev/null
}
pod=$(wait_for 30 "somebody leads" leader)
id=$(container "$pod" .containerID)
ctr -n k8s.io tasks kill --signal SIGKILL "${id#containerd://}"
works after-kill
say "the operator was killed; work went on $(since "$began" "$(date -Ins)") s later"
restarted() { [ "$(container "$pod" .restartCount) $(container "$pod" .ready)" = "1 true" ]; }
wait_for 60 "the container was started anew" restarted >/dev/null
kubectl delete pod -n $system "$(wait_for 30 "somebody leads" leader)" >/dev/null
works after-delete
say "its pod was deleted; work went on $(since "$began" "$(date -Ins)") s after it had ended"
settled
equal "requests for tokens" "$(mints)" 2
equal "replicas that lead" "$(metric leader)" 1

# --- Upgrade to a chart whose definition has a field more.
cp -r chart next
crd=next/files/crds/zohocredentials.yaml
kubectl patch --local -f "$crd" --type=json -o yaml -p '[{ "op": "add",
  "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/futureField", "value": { "type": "string" } }]' >crd.yaml
mv crd.yaml "$crd"
sed -i 's/^version: .*/version: 99.0.0/' next/Chart.yaml
began=$(date -Ins)
helm upgrade zoho-operator next -n $system -f "$here/values.yaml" --set podAnnotations.upgraded=yes >/dev/null
settled
future() {
  kubectl patch zcred patch-manager -n patching --type=merge -p '{"spec":{"futureField":"there"}}' >/dev/null
  kubectl get zcred patch-manager -n patching -o jsonpath='{.spec.futureField}' | grep there
}
wait_for 30 "the new field is stored" future >/dev/null
say "upgraded within $(since "$began" "$(date -Ins)") s, definitions included"
works after-upgrade
equal "requests for tokens" "$(mints)" 2

second=$(rotated 3)
read -r made failed <<<"$(calls)"
say "renewed again: the file in the pod followed $second s after the mint; calls, failed: $made $failed"
equal "failed calls" "$failed" 0
equal "requests for tokens" "$(mints)" 3
equal "breaches of Zoho's rules" "$(simulator stats | sed -n 's/.*"violations":\[\([^]]*\)\].*/\1/p')" ""

# --- Uninstall: what is left is what the chart's README says.
helm uninstall zoho-operator -n $system --wait >/dev/null
gone() { [ -z "$(pods -o name)" ]; }
wait_for 60 "the operator's pods are gone" gone >/dev/null
left() { kubectl get "$1" -n "${2:-$system}" -o name --ignore-not-found | grep -v -e kube-root-ca.crt -e zoho-ca -e '/default$' | xargs; }
names() { kubectl get "$1" -o name | grep zoho | xargs; }
equal "left in the operator's namespace" "$(left deployments,pods,services,serviceaccounts,roles,rolebindings,configmaps,poddisruptionbudgets,networkpolicies)" ""
equal "Secrets left there" "$(left secrets)" secret/zoho-operator-hash-key
equal "ledgers left there" "$(left zledger | wc -w)" 1
equal "cluster roles and policies left" \
  "$(names clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings)" ""
equal "definitions left" "$(names crd)" \
  "customresourcedefinition.apiextensions.k8s.io/zohocredentials.zoho-operator.dev customresourcedefinition.apiextensions.k8s.io/zohomintledgers.zoho-operator.dev"
equal "left in the workload's namespace" "$(left zcred,secrets patching)" \
  "zohocredential.zoho-operator.dev/patch-manager secret/patch-manager-token secret/zoho-oauth"
say "uninstalled: definitions, credentials, their Secrets, the ledger and the hash key are left, and nothing else"
read -r more failed <<<"$(calls)"
equal "failed calls" "$failed" 0
kubectl delete crd zohocredentials.zoho-operator.dev zohomintledgers.zoho-operator.dev >/dev/null
collected() { [ "$(left secrets patching)" = secret/zoho-oauth ]; }
wait_for 30 "the target went with its credential" collected >/dev/null

cat <<END

e2e: passed in $SECONDS s
  token life                      $life s, renewed after $((life / 2)) s
  calls of the workload           $more
  failed calls                    $failed
  rotations seen by the pod       2
  seconds from mint to file       $first and $second (kubelet's default sync of 1 min)
  requests to the token service   3
END
