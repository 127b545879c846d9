//! The chart installed by Helm, and the operator under the rights that it grants.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use zoho_simulator::{Simulator, SimulatorConfig};
use zoho_testkit::control_plane::{AuditEntry, ControlPlane, Options};

use crate::admission;
use crate::chart::CHART;
use crate::support::eventually;

pub(crate) const NAMESPACE: &str = "zoho-operator-system";
pub(crate) const USER: &str = "system:serviceaccount:zoho-operator-system:zoho-operator";

/// A control plane of its own, since the chart installs the CRDs and this operator serves all namespaces. As `OpenShift`
/// has it: owners may be entered only by those who may delete.
pub(crate) async fn control_plane() -> ControlPlane {
    let plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".into();
    ControlPlane::start(Options { apiserver_flags: vec![plugin], ..Options::default() }).await.expect("a control plane")
}

#[tokio::test]
async fn installed_operator_gets_along_with_the_rights_of_the_chart() {
    let cluster = control_plane().await;
    let zoho = Simulator::start(SimulatorConfig::default());
    zoho.register("1000.CLIENT", "secret", "1000.refresh");
    helm(&cluster, &["install", "zoho-operator", CHART, "-n", NAMESPACE, "--create-namespace"]).await;
    kubectl(&cluster, &["create", "namespace", "patching"]).await;
    let source = ["client_id=1000.CLIENT", "client_secret=secret", "refresh_token=1000.refresh"];
    let source = source.map(|pair| format!("--from-literal={pair}"));
    let mut create = vec!["create", "secret", "generic", "zoho-oauth", "-n", "patching"];
    create.extend(source.iter().map(String::as_str));
    kubectl(&cluster, &create).await;
    // The first target stands already and is taken over, the second one is made anew.
    kubectl(&cluster, &["create", "secret", "generic", "patch-token", "-n", "patching"]).await;
    kubectl(&cluster, &["annotate", "secret", "patch-token", "-n", "patching", "zoho-operator.dev/adopt=patch"]).await;
    cluster.apply_yaml(CREDENTIAL).await.expect("applied");
    // What it has from a list it reads once more before it mints.
    admission::is_enforced(&cluster).await;
    let operator = Operator::start(&cluster, &zoho).await;
    operator.until("the token is there", async || is_ready(&cluster, "patch-token").await.then_some(())).await;
    // Stripped of what tells that it is a target: of all but the owner, and then of the owner, as a backup may leave it.
    for stripped in [json!({ "labels": null, "annotations": null }), json!({ "ownerReferences": null })] {
        strip(&cluster, "patch-token", &stripped).await;
        operator
            .until("the target is repaired", async || is_complete(&cluster, "patch-token").await.then_some(()))
            .await;
    }

    patch(&cluster, &json!({ "spec": { "target": { "name": "renamed" } } })).await;
    operator.until("the new target is there", async || is_ready(&cluster, "renamed").await.then_some(())).await;
    // Renewal first, while the former target's token still lives; then its end.
    for _ in 0..2 {
        let mints = zoho.stats().token.mints;
        operator.advance(&zoho, 40 * 60);
        operator.until("it is renewed", async || (zoho.stats().token.mints > mints).then_some(())).await;
    }
    operator
        .until("the former target is deleted", async || {
            let get = ["get", "secret", "patch-token", "-n", "patching", "--ignore-not-found", "-o", "name"];
            kubectl(&cluster, &get).await.is_empty().then_some(())
        })
        .await;

    let wanted: &[(&str, &str, &str)] = &[
        ("get", "secrets", ""),
        ("list", "secrets", ""),
        ("watch", "secrets", ""),
        ("create", "secrets", ""),
        ("patch", "secrets", ""),
        ("delete", "secrets", ""),
        ("get", "zohocredentials", ""),
        ("list", "zohocredentials", ""),
        ("watch", "zohocredentials", ""),
        ("patch", "zohocredentials", "status"),
        ("create", "events", ""),
        ("list", "zohomintledgers", ""),
        ("watch", "zohomintledgers", ""),
        ("create", "zohomintledgers", ""),
        ("update", "zohomintledgers", ""),
        // It is also read, once, when there is none yet.
        ("create", "leases", ""),
        ("update", "leases", ""),
    ];
    // Watches are written down when they end.
    drop(operator);
    let is_seen = |entries: &[AuditEntry], (verb, resource, subresource): &(&str, &str, &str)| {
        entries.iter().any(|entry| {
            entry.verb == *verb && entry.resource == *resource && entry.subresource == *subresource && entry.code < 400
        })
    };
    let mut entries = Vec::new();
    eventually("every kind of request is in the audit log", async || {
        let is_ours = |entry: &AuditEntry| entry.user == USER && entry.name != admission::PROBE;
        entries = cluster.audit_entries(is_ours).expect("readable").expect("a control plane of our own");
        wanted.iter().all(|request| is_seen(&entries, request)).then_some(())
    })
    .await;
    let refused: Vec<_> = entries.iter().filter(|entry| entry.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let used: BTreeSet<String> =
        entries.iter().map(|entry| right(&entry.verb, &entry.resource, &entry.subresource)).collect();
    let granted: BTreeSet<String> = granted(&cluster).await;
    let needless: Vec<_> = granted.difference(&used).map(String::as_str).collect();
    assert_eq!(needless, RARELY_USED, "rights that nothing needs, or that are used here after all");
}

/// What this story does not come to.
const RARELY_USED: [&str; 2] = [
    // A ledger that nothing refers to any more is deleted once it is empty.
    "delete zohomintledgers",
    // After a conflict or a lost answer the one ledger is read again.
    "get zohomintledgers",
];

fn right(verb: &str, resource: &str, subresource: &str) -> String {
    format!("{verb} {resource}{}{subresource}", if subresource.is_empty() { "" } else { "/" })
}

/// Every right that the chart grants the operator.
async fn granted(cluster: &ControlPlane) -> BTreeSet<String> {
    let roles = kubectl(cluster, &["get", "clusterrole/zoho-operator", "-o", "json"]).await;
    let own = kubectl(cluster, &["get", "role/zoho-operator-own", "-n", NAMESPACE, "-o", "json"]).await;
    let mut rights = BTreeSet::new();
    for role in [roles, own] {
        let role: Value = serde_json::from_str(&role).expect("JSON");
        for rule in role["rules"].as_array().expect("rules") {
            let texts = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).expect("texts") };
            for resource in texts("resources") {
                let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
                rights.extend(texts("verbs").iter().map(|verb| right(verb, resource, subresource)));
            }
        }
    }
    rights
}

#[tokio::test]
async fn upgrading_brings_new_fields_and_keeps_the_credentials() {
    let cluster = control_plane().await;
    // The chart as it was when the definition had a field less.
    let folder = tempfile::tempdir().expect("a folder");
    let previous = folder.path().join("zoho-operator");
    let copied = std::process::Command::new("cp").args(["-r", CHART]).arg(&previous).status().expect("cp runs");
    assert!(copied.success());
    let edit = |name: &str, edit: &dyn Fn(String) -> String| {
        let path = previous.join(name);
        fs::write(&path, edit(fs::read_to_string(&path).expect("readable"))).expect("written");
    };
    edit("Chart.yaml", &|text| text.replace(concat!("\nversion: ", env!("CARGO_PKG_VERSION")), "\nversion: 0.0.0"));
    edit("files/crds/zohocredentials.yaml", &|text| {
        let mut crd: Value = serde_saphyr::from_str(&text).expect("YAML");
        let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        assert!(spec.as_object_mut().expect("fields").remove("suspend").is_some());
        crd.to_string()
    });
    let previous = previous.to_string_lossy();
    helm(&cluster, &["install", "zoho-operator", &previous, "-n", NAMESPACE, "--create-namespace"]).await;
    kubectl(&cluster, &["create", "namespace", "patching"]).await;
    cluster.apply_yaml(CREDENTIAL).await.expect("applied");
    let uid = ["get", "zcred", "patch", "-n", "patching", "-o", "jsonpath={.metadata.uid}"];
    let before = kubectl(&cluster, &uid).await;
    patch(&cluster, &json!({ "spec": { "suspend": true } })).await;
    let suspend = ["get", "zcred", "patch", "-n", "patching", "-o", "jsonpath={.spec.suspend}"];
    assert_eq!(kubectl(&cluster, &suspend).await, "", "the field is not there yet");

    helm(&cluster, &["upgrade", "zoho-operator", CHART, "-n", NAMESPACE]).await;
    eventually("the new field is stored", async || {
        patch(&cluster, &json!({ "spec": { "suspend": true } })).await;
        (kubectl(&cluster, &suspend).await == "true").then_some(())
    })
    .await;
    assert_eq!(kubectl(&cluster, &uid).await, before, "the same object");
    // And back: what the former version does not know is not lost while nobody writes it.
    helm(&cluster, &["rollback", "zoho-operator", "1", "-n", NAMESPACE]).await;
    assert_eq!(kubectl(&cluster, &uid).await, before, "the same object");
    helm(&cluster, &["upgrade", "zoho-operator", CHART, "-n", NAMESPACE]).await;
    eventually("and forward again", async || (kubectl(&cluster, &suspend).await == "true").then_some(())).await;
}

#[tokio::test]
async fn a_second_release_lives_beside_the_first() {
    let cluster = control_plane().await;
    helm(&cluster, &["install", "zoho-operator", CHART, "-n", NAMESPACE, "--create-namespace"]).await;
    for namespace in ["team-a", "team-b"] {
        kubectl(&cluster, &["create", "namespace", namespace]).await;
    }
    let values = format!("{CHART}/ci/namespaced-values.yaml");
    // In the first one's namespace, and in another one.
    for namespace in [NAMESPACE, "second"] {
        helm(&cluster, &["install", "second", CHART, "-n", namespace, "--create-namespace", "-f", &values]).await;
        helm(&cluster, &["test", "second", "-n", namespace, "--filter", "name=none"]).await;
        let user = format!("system:serviceaccount:{namespace}:second-zoho-operator");
        let may = async |verb: &str, resource: &str, namespace: &str| {
            let ask = ["auth", "can-i", verb, resource, "-n", namespace, "--as", &user];
            cluster.kubectl(&ask).await.expect("runs").status.success()
        };
        assert!(may("list", "secrets", "team-a").await);
        assert!(!may("list", "secrets", "patching").await, "it serves two namespaces only");
        assert!(!may("get", "secrets/zoho-operator-hash-key", NAMESPACE).await, "the first one's key is not its own");
        helm(&cluster, &["uninstall", "second", "-n", namespace, "--wait"]).await;
    }
    assert!(cluster.kubectl(&["get", "zcred", "-A"]).await.expect("runs").status.success(), "the definitions stay");
    for first in ["deployment/zoho-operator", "role/zoho-operator-own", "serviceaccount/zoho-operator"] {
        kubectl(&cluster, &["get", first, "-n", NAMESPACE]).await;
    }
    kubectl(&cluster, &["get", "clusterrole/zoho-operator", "clusterrolebinding/zoho-operator"]).await;
    // Two that would both own the definitions are refused by Helm, not merged.
    let both = ["install", "third", CHART, "-n", "third", "--create-namespace"];
    let output = cluster.helm(&both).await.expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("meta.helm.sh/release-name"), "{error}");
}

#[tokio::test]
async fn people_may_what_their_role_says_and_uninstalling_keeps_the_credentials() {
    let cluster = control_plane().await;
    helm(&cluster, &["install", "zoho-operator", CHART, "-n", NAMESPACE, "--create-namespace"]).await;
    kubectl(&cluster, &["create", "namespace", "patching"]).await;
    for role in ["view", "edit", "admin"] {
        let (role_flag, user) = (format!("--clusterrole={role}"), format!("--user={role}er"));
        kubectl(&cluster, &["create", "clusterrolebinding", role, &role_flag, &user]).await;
    }
    let rows = [
        ("viewer", "list", "zohocredentials", true),
        ("viewer", "create", "zohocredentials", false),
        ("editer", "create", "zohocredentials", true),
        ("editer", "patch", "zohocredentials", true),
        ("editer", "patch", "zohocredentials/status", false),
        // The runbooks look into ledgers, which hold no bytes of a Secret.
        ("viewer", "list", "zohomintledgers", true),
        ("editer", "get", "zohomintledgers", true),
        ("editer", "update", "zohomintledgers", false),
        ("adminer", "delete", "zohomintledgers", false),
        ("adminer", "delete", "zohocredentials", true),
        ("adminer", "update", "zohocredentials/status", false),
        ("adminer", "update", "zohomintledgers", false),
        (USER, "patch", "zohocredentials", false),
        (USER, "update", "secrets", false),
        (USER, "deletecollection", "secrets", false),
        (USER, "list", "namespaces", false),
        (USER, "get", "zohomintledgers", false),
        (USER, "create", "pods", false),
    ];
    // The controller manager aggregates each role a moment later.
    for (user, verb, resource, _) in rows.iter().filter(|(.., expected)| *expected) {
        eventually(&format!("{user} may {verb} {resource}"), async || {
            may(&cluster, user, verb, resource).await.then_some(())
        })
        .await;
    }
    for (user, verb, resource, _) in rows.iter().filter(|(.., expected)| !*expected) {
        assert!(!may(&cluster, user, verb, resource).await, "{user} {verb} {resource} in namespace patching");
    }

    cluster.apply_yaml(CREDENTIAL).await.expect("applied");
    helm(&cluster, &["upgrade", "zoho-operator", CHART, "-n", NAMESPACE, "--set", "config.concurrency=64"]).await;
    helm(&cluster, &["uninstall", "zoho-operator", "-n", NAMESPACE, "--wait"]).await;
    assert_eq!(
        kubectl(&cluster, &["get", "zcred", "-A", "-o", "name"]).await,
        "zohocredential.zoho-operator.dev/patch"
    );
    let kinds = "clusterrole,clusterrolebinding,role,rolebinding,deployment,serviceaccount,networkpolicy,\
                 validatingadmissionpolicy,validatingadmissionpolicybinding";
    let left = kubectl(&cluster, &["get", kinds, "-A", "-o", "name"]).await;
    assert!(!left.contains("zoho-operator"), "{left}");
    helm(&cluster, &["install", "zoho-operator", CHART, "-n", NAMESPACE]).await;
}

pub(crate) const CREDENTIAL: &str = "\
apiVersion: zoho-operator.dev/v1alpha1
kind: ZohoCredential
metadata:
  name: patch
  namespace: patching
spec:
  dataCenter: US
  secretRef:
    name: zoho-oauth
";

/// The operator as the chart's `ServiceAccount`, with the arguments that its pod has. Killed when dropped.
pub(crate) struct Operator {
    _process: Child,
    log: PathBuf,
    clock: PathBuf,
}

impl Operator {
    async fn start(cluster: &ControlPlane, zoho: &Simulator) -> Self {
        Self::of(cluster, zoho, (NAMESPACE, "zoho-operator")).await
    }

    /// That of the release whose Deployment has this namespace and name.
    pub(crate) async fn of(cluster: &ControlPlane, zoho: &Simulator, (namespace, name): (&str, &str)) -> Self {
        let deployment = kubectl(cluster, &["get", "deployment", name, "-n", namespace, "-o", "json"]).await;
        let deployment: Value = serde_json::from_str(&deployment).expect("JSON");
        let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        let arguments: Vec<String> = serde_json::from_value(arguments).expect("a list of texts");
        let account = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().expect("one").to_owned();
        let token = kubectl(cluster, &["create", "token", &account, "-n", namespace]).await;
        let admin = fs::read_to_string(cluster.kubeconfig_path()).expect("readable");
        let mut kubeconfig: Value = serde_json::from_str(&admin).expect("JSON");
        kubeconfig["users"][0]["user"] = json!({ "token": token });
        let file = |name: &str| cluster.folder().join(name);
        fs::write(file("chart.kubeconfig"), kubeconfig.to_string()).expect("written");
        let log = file("chart-operator.log");
        let output = fs::File::create(&log).expect("a log");
        let process = Command::new(env!("CARGO_BIN_EXE_zoho-operator"))
            .args(arguments.iter().filter(|argument| !argument.contains("-bind-address=")))
            .args([
                "--health-probe-bind-address=127.0.0.1:0",
                "--metrics-bind-address=0",
                &format!("--accounts-url=US={}", zoho.url()),
            ])
            .env("KUBECONFIG", file("chart.kubeconfig"))
            .env("ZOHO_OPERATOR_CLOCK_OFFSET_FILE", file("chart-clock"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the log"))
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .expect("the operator starts");
        Self { _process: process, log, clock: file("chart-clock") }
    }

    /// Sets the wall clock of the operator and Zoho ahead.
    fn advance(&self, zoho: &Simulator, seconds: i64) {
        let before: i64 = fs::read_to_string(&self.clock).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
        let offset = before + seconds;
        zoho.set_clock_offset(SignedDuration::from_secs(offset));
        let next = self.clock.with_extension("next");
        fs::write(&next, offset.to_string()).expect("written");
        fs::rename(next, &self.clock).expect("renamed");
    }

    /// Like [`eventually`], with the operator's log on failure.
    pub(crate) async fn until<T>(&self, what: &str, observe: impl AsyncFnMut() -> Option<T>) -> T {
        let waiting = tokio::time::timeout(Duration::from_secs(50), eventually(what, observe)).await;
        waiting.unwrap_or_else(|_| panic!("{what}\n{}", fs::read_to_string(&self.log).unwrap_or_default()))
    }
}

/// Is the credential Ready for this generation, with its token in that Secret?
pub(crate) async fn is_ready(cluster: &ControlPlane, target: &str) -> bool {
    let credential = kubectl(cluster, &["get", "zcred", "patch", "-n", "patching", "-o", "json"]).await;
    let credential: Value = serde_json::from_str(&credential).expect("JSON");
    let status = &credential["status"];
    let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    status["target"] == target
        && status["observedGeneration"] == credential["metadata"]["generation"]
        && status["conditions"].as_array().is_some_and(|conditions| conditions.iter().any(is_ready))
}

async fn strip(cluster: &ControlPlane, target: &str, metadata: &Value) {
    let edit = json!({ "metadata": metadata }).to_string();
    kubectl(cluster, &["patch", "secret", target, "-n", "patching", "--type=merge", "-p", &edit]).await;
}

/// Has the target labels, annotations and owner?
async fn is_complete(cluster: &ControlPlane, target: &str) -> bool {
    let secret = kubectl(cluster, &["get", "secret", target, "-n", "patching", "-o", "json"]).await;
    let secret: Value = serde_json::from_str(&secret).expect("JSON");
    let metadata = &secret["metadata"];
    metadata["labels"]["app.kubernetes.io/managed-by"] == "zoho-operator"
        && metadata["annotations"]["zoho-operator.dev/seal"].is_string()
        && metadata["ownerReferences"][0]["kind"] == "ZohoCredential"
}

pub(crate) async fn patch(cluster: &ControlPlane, edit: &Value) {
    kubectl(cluster, &["patch", "zcred", "patch", "-n", "patching", "--type=merge", "-p", &edit.to_string()]).await;
}

async fn may(cluster: &ControlPlane, user: &str, verb: &str, resource: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    let ask = ["auth", "can-i", verb, resource, &subresource, "-n", "patching", "--as", user];
    cluster.kubectl(&ask).await.expect("runs").status.success()
}

pub(crate) async fn kubectl(cluster: &ControlPlane, arguments: &[&str]) -> String {
    let output = cluster.kubectl(arguments).await.expect("runs");
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) async fn helm(cluster: &ControlPlane, arguments: &[&str]) {
    let output = cluster.helm(arguments).await.expect("runs");
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
