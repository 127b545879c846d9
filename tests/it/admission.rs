//! The chart's admission policy: what a stolen token of the operator's account cannot write. That the operator gets along with
//! it is shown by every other test here, and with the installed chart by `install`.

use std::process::Output;

use serde_json::{Value, json};
use zoho_testkit::control_plane::ControlPlane;

use crate::chart::{CHART, render};
use crate::install::{CREDENTIAL, NAMESPACE, USER, control_plane, helm, kubectl};
use crate::support::{cluster, eventually};

/// Name of the policy and of its binding.
const POLICY: &str = "zoho-operator.zoho-operator-system";

/// One request with the operator's token, as a dry run.
struct Request {
    what: &'static str,
    arguments: Vec<String>,
    object: Option<Value>,
    /// What it is answered; `None` where the operator itself does that.
    refusal: Option<&'static str>,
}

impl Request {
    fn create(what: &'static str, object: Value, refusal: Option<&'static str>) -> Self {
        Self { what, arguments: vec!["create".into()], object: Some(object), refusal }
    }

    fn patch(what: &'static str, namespace: &str, name: &str, patch: &Value, refusal: Option<&'static str>) -> Self {
        let arguments = ["patch", "secret", name, "-n", namespace, "--type=merge", "-p"];
        let arguments = arguments.map(str::to_owned).into_iter().chain([patch.to_string()]).collect();
        Self { what, arguments, object: None, refusal }
    }

    fn delete(what: &'static str, namespace: &str, name: &str, refusal: Option<&'static str>) -> Self {
        let arguments = ["delete", "secret", name, "-n", namespace].map(str::to_owned).into();
        Self { what, arguments, object: None, refusal }
    }

    async fn send(&self, cluster: &ControlPlane) -> Output {
        let mut arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        arguments.extend(["--dry-run=server", "--as", USER]);
        match &self.object {
            Some(object) => {
                arguments.extend(["-f", "-"]);
                cluster.kubectl_stdin(&arguments, &object.to_string()).await.expect("runs")
            }
            None => cluster.kubectl(&arguments).await.expect("runs"),
        }
    }
}

const TYPE: &str = "zoho-operator may write Secrets of type Opaque only";
const OWNER: &str = "Secrets that zoho-operator writes need exactly one controller";
const LABEL: &str = "Secrets that zoho-operator writes need label app.kubernetes.io/managed-by: zoho-operator";
const CHANGE: &str = "zoho-operator may change only Secrets that a ZohoCredential controls";
const DELETE: &str = "zoho-operator may delete only Secrets that a ZohoCredential controls";
const OWN: &str = "In its own namespace zoho-operator may create Secret zoho-operator-hash-key";

/// What makes a Secret a target of the credential with this uid.
fn marks(uid: &str) -> Value {
    json!({
        "labels": { "app.kubernetes.io/managed-by": "zoho-operator" },
        "ownerReferences": [owner("zoho-operator.dev/v1alpha1", "ZohoCredential", "patch", uid)],
    })
}

fn owner(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true })
}

fn secret(namespace: &str, name: &str, kind: &str, metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    json!({ "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata })
}

/// The marks of a target without one of its fields.
fn without(marks: &Value, field: &str) -> Value {
    let mut marks = marks.clone();
    marks.as_object_mut().expect("an object").remove(field).expect("it was there");
    marks
}

fn creations(uid: &str) -> Vec<Request> {
    let marks = marks(uid);
    let new = |metadata: &Value| secret("patching", "new", "Opaque", metadata);
    let mut for_account = marks.clone();
    for_account["annotations"] = json!({ "kubernetes.io/service-account.name": "default" });
    let mut of_deployment = marks.clone();
    of_deployment["ownerReferences"] = json!([owner("apps/v1", "Deployment", "patch", uid)]);
    let mut of_another_group = marks.clone();
    of_another_group["ownerReferences"] = json!([owner("zoho.example/v1", "ZohoCredential", "patch", uid)]);
    let mut of_a_ledger = marks.clone();
    of_a_ledger["ownerReferences"] = json!([owner("zoho-operator.dev/v1alpha1", "ZohoMintLedger", "patch", uid)]);
    let mut uncontrolled = marks.clone();
    uncontrolled["ownerReferences"][0]["controller"] = false.into();
    let mut managed_by_helm = marks.clone();
    managed_by_helm["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
    let token = |metadata| secret("patching", "new", "kubernetes.io/service-account-token", metadata);
    vec![
        Request::create("a target", new(&marks), None),
        Request::create("a token of an account", token(&for_account), Some(TYPE)),
        Request::create("a Secret without owner", new(&without(&marks, "ownerReferences")), Some(OWNER)),
        Request::create("one of another kind's", new(&of_deployment), Some(OWNER)),
        Request::create("one of our other kind's", new(&of_a_ledger), Some(OWNER)),
        Request::create("one of another group's", new(&of_another_group), Some(OWNER)),
        Request::create("one that its owner does not control", new(&uncontrolled), Some(OWNER)),
        Request::create("one without label", new(&without(&marks, "labels")), Some(LABEL)),
        Request::create("one with another's label", new(&managed_by_helm), Some(LABEL)),
        Request::create("a target beside the operator", secret(NAMESPACE, "new", "Opaque", &marks), Some(OWN)),
        Request::create("the hash key", secret(NAMESPACE, "zoho-operator-hash-key", "Opaque", &json!({})), None),
        Request::create("another's hash key", secret(NAMESPACE, "second-hash-key", "Opaque", &json!({})), Some(OWN)),
        Request::create(
            "the hash key elsewhere",
            secret("patching", "zoho-operator-hash-key", "Opaque", &json!({})),
            Some(OWNER),
        ),
    ]
}

fn changes(uid: &str) -> Vec<Request> {
    let take_over = json!({ "metadata": marks(uid) });
    let edit = json!({ "stringData": { "key": "value" } });
    let let_go = json!({ "metadata": { "ownerReferences": null } });
    vec![
        Request::patch("a target's content", "patching", "target", &edit, None),
        Request::patch("a target's owner", "patching", "target", &let_go, Some(OWNER)),
        Request::patch("what its owner lets it take over", "patching", "offered", &take_over, None),
        Request::patch("that, without taking it over", "patching", "offered", &edit, Some(OWNER)),
        Request::patch("one of another type that is offered", "patching", "login", &take_over, Some(TYPE)),
        Request::patch("a target from a backup", "patching", "restored", &take_over, None),
        Request::patch("what is offered and controlled by another", "patching", "controlled", &take_over, Some(CHANGE)),
        Request::patch("somebody's content", "patching", "foreign", &edit, Some(CHANGE)),
        Request::patch("somebody's owner", "patching", "foreign", &take_over, Some(CHANGE)),
        Request::patch("what stands beside the operator", NAMESPACE, "beside", &edit, Some(OWN)),
    ]
}

fn deletions() -> Vec<Request> {
    vec![
        Request::delete("a former target", "patching", "target", None),
        Request::delete("somebody's", "patching", "foreign", Some(DELETE)),
        Request::delete("another controller's", "patching", "controlled", Some(DELETE)),
        Request::delete("what is offered", "patching", "offered", Some(DELETE)),
        Request::delete("a target from a backup", "patching", "restored", Some(DELETE)),
        Request::delete("a credential's that holds no token", "patching", "tokenless", Some(DELETE)),
        Request::delete("what stands beside the operator", NAMESPACE, "beside", Some(OWN)),
    ]
}

/// The Secrets that these requests are about, and the credential's uid.
async fn scene(cluster: &ControlPlane) -> String {
    kubectl(cluster, &["create", "namespace", "patching"]).await;
    cluster.apply_yaml(CREDENTIAL).await.expect("applied");
    kubectl(cluster, &["create", "configmap", "somebody", "-n", "patching"]).await;
    let uid_of = async |kind: &str, name: &str| {
        kubectl(cluster, &["get", kind, name, "-n", "patching", "-o", "jsonpath={.metadata.uid}"]).await
    };
    let uid = uid_of("zcred", "patch").await;
    let offered = json!({ "annotations": { "zoho-operator.dev/adopt": "patch" } });
    let stamped = json!({ "annotations": { "zoho-operator.dev/minted-from": "k.1" } });
    let mut target = marks(&uid);
    target["annotations"] = stamped["annotations"].clone();
    let mut controlled = offered.clone();
    controlled["annotations"]["zoho-operator.dev/minted-from"] = "k.1".into();
    controlled["ownerReferences"] =
        json!([owner("v1", "ConfigMap", "somebody", &uid_of("configmap", "somebody").await)]);
    for object in [
        secret("patching", "target", "Opaque", &target),
        secret("patching", "tokenless", "Opaque", &marks(&uid)),
        secret("patching", "offered", "Opaque", &offered),
        secret("patching", "login", "example.com/login", &offered),
        secret("patching", "restored", "Opaque", &stamped),
        secret("patching", "controlled", "Opaque", &controlled),
        secret("patching", "foreign", "Opaque", &json!({})),
        secret(NAMESPACE, "beside", "Opaque", &json!({})),
    ] {
        cluster.apply_yaml(&object.to_string()).await.expect("applied");
    }
    uid
}

/// Name of the Secret in the request of [`is_enforced`].
pub(crate) const PROBE: &str = "probe";

/// What is let through only while no policy is enforced.
fn probe() -> Request {
    Request::create("a Secret without owner", secret("default", PROBE, "Opaque", &json!({})), Some(OWNER))
}

/// Waits for the policy: the API server learns of it a moment after it was stored.
pub(crate) async fn is_enforced(cluster: &ControlPlane) {
    let is_refused = async || {
        let output = probe().send(cluster).await;
        let error = String::from_utf8_lossy(&output.stderr);
        (!output.status.success() && error.contains(OWNER) && error.contains(POLICY)).then_some(())
    };
    eventually("the policy is enforced", is_refused).await;
}

#[tokio::test]
async fn stolen_token_of_the_operator_writes_nothing_but_targets() {
    let cluster = control_plane().await;
    helm(&cluster, &["install", "zoho-operator", CHART, "-n", NAMESPACE, "--create-namespace"]).await;
    let uid = scene(&cluster).await;
    is_enforced(&cluster).await;
    let requests: Vec<Request> = [creations(&uid), changes(&uid), deletions()].into_iter().flatten().collect();
    for request in &requests {
        let (what, output) = (request.what, request.send(&cluster).await);
        let error = String::from_utf8_lossy(&output.stderr);
        match request.refusal {
            None => assert!(output.status.success(), "{what}: {error}"),
            Some(refusal) => {
                assert!(!output.status.success(), "{what}: let through");
                assert!(error.contains(refusal) && error.contains(POLICY), "{what}: {error}");
            }
        }
    }
    // Nobody else is concerned.
    kubectl(&cluster, &["delete", "secret", "foreign", "-n", "patching", "--dry-run=server"]).await;

    // It is the policy that refuses: what remains without it are the rights that RBAC can express.
    let off = ["upgrade", "zoho-operator", CHART, "-n", NAMESPACE, "--set", "admissionPolicy.enabled=false"];
    helm(&cluster, &off).await;
    eventually("the policy is gone", async || probe().send(&cluster).await.status.success().then_some(())).await;
    for request in &requests {
        let output = request.send(&cluster).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}, without the policy: {error}", request.what);
    }
}

#[tokio::test]
async fn the_admission_policy_is_about_the_account_that_the_pod_has() {
    let cluster = cluster().await;
    let policy = async |namespace: &str, more: &[&str]| -> String {
        let show = ["--show-only", "templates/admissionpolicy.yaml"];
        render(cluster, namespace, None, &[&show, more].concat()).await
    };
    for (namespace, set, user, hash_key) in [
        ("a", "nameOverride=", "a:zoho-operator", "zoho-operator-hash-key"),
        ("b", "serviceAccount.create=false", "b:default", "zoho-operator-hash-key"),
        ("c", "serviceAccount.create=false,serviceAccount.name=mine", "c:mine", "zoho-operator-hash-key"),
        ("d", "config.instance=second", "d:zoho-operator", "second-hash-key"),
    ] {
        let rendered = policy(namespace, &["--set", set]).await;
        let condition = format!("request.userInfo.username == 'system:serviceaccount:{user}'");
        assert!(rendered.contains(&condition), "{set}: {rendered}");
        assert!(rendered.contains(&format!("object.metadata.name == '{hash_key}'")), "{set}: {rendered}");
        // Two namespaces may each have a release of this name.
        assert_eq!(rendered.matches(&format!("\n  name: zoho-operator.{namespace}\n")).count(), 2, "{set}: {rendered}");
    }
    // A key that somebody else makes is not the operator's to write.
    let rendered = policy("a", &["--set", "hashKey.existingSecret=restored"]).await;
    assert!(!rendered.contains("object.metadata.name =="), "{rendered}");
}

/// `helm template` knows no cluster, and on one without the kind the chart is installed all the same.
#[tokio::test]
async fn where_the_kind_is_not_served_there_is_no_admission_policy() {
    let cluster = cluster().await;
    let output = cluster.helm(&["template", "zoho-operator", CHART]).await.expect("runs");
    assert!(output.status.success());
    let manifest = String::from_utf8(output.stdout).expect("text");
    assert!(manifest.contains("kind: Deployment") && !manifest.contains("kind: ValidatingAdmissionPolicy"));
}
