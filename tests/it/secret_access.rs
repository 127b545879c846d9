//! `--secret-access get`: everything works without the right to list or watch Secrets.

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use zoho_testkit::control_plane::{AuditEntry, OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT};

use crate::support::eventually;
use crate::support::look::text;
use crate::support::world::World;

/// An account of its own, with the chart's rules in one namespace and with these rights to Secrets, and its kubeconfig.
pub(crate) async fn account(world: &World, name: &str, namespace: &str, secrets: &[&str]) -> String {
    let own = &world.operator_namespace;
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": own } },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
          "metadata": { "name": name, "namespace": namespace }, "rules": [
            { "apiGroups": ["zoho-operator.dev"], "resources": ["zohocredentials"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": ["zoho-operator.dev"], "resources": ["zohocredentials/status"], "verbs": ["patch"] },
            { "apiGroups": [""], "resources": ["secrets"], "verbs": secrets },
            { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
        ] },
        binding(name, namespace, own, "Role", name),
        binding(name, own, own, "Role", &format!("{OPERATOR_SERVICE_ACCOUNT}-own")),
    ] });
    world.cluster.apply_yaml(&objects.to_string()).await.expect("applied");
    let output = world.cluster.kubectl(&["create", "token", name, "-n", own]).await.expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout).expect("text");
    let admin = std::fs::read_to_string(world.cluster.kubeconfig_path()).expect("readable");
    let mut kubeconfig: serde_json::Value = serde_json::from_str(&admin).expect("JSON");
    kubeconfig["users"][0]["user"] = json!({ "token": token.trim() });
    let path = world.cluster.folder().join(format!("{name}-{own}.kubeconfig"));
    std::fs::write(&path, kubeconfig.to_string()).expect("written");
    path.display().to_string()
}

fn binding(name: &str, namespace: &str, own: &str, kind: &str, role: &str) -> serde_json::Value {
    json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": format!("{name}-{}", role.len()), "namespace": namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": own }] })
}

#[tokio::test]
async fn secrets_are_served_without_the_right_to_list_or_watch_them() {
    assert_eq!(OPERATOR_NAMESPACE, "zoho-operator-system");
    let world = World::new("by_get").await;
    let kubeconfig = account(&world, "by-get", &world.namespace, &["get", "create", "patch", "delete"]).await;
    // One that is there before the start, and one after it.
    world.good_source("source").await;
    world.credential("early", "source", json!({})).await;
    let operator = world.operator_as(&["--secret-access=get"], &kubeconfig);
    operator.synced().await;
    world.wait_ready("early").await;
    world.credential("late", "source", json!({})).await;
    world.wait_ready("late").await;
    assert_eq!(world.zoho.stats().token.posts, 1, "they share the token");

    // Without a source the credential says so; its source is found within a round.
    world.credential("waiting", "later", json!({})).await;
    world.wait_for_reason("waiting", "SourceSecretNotFound").await;
    world.good_source("later").await;
    // A target that somebody deletes comes back within a round.
    world.secrets().delete("early-token", &DeleteParams::default()).await.expect("deleted");
    let both = async || {
        let (early, waiting) = (world.secret("early-token").await?, world.secret("waiting-token").await?);
        (world.zoho.is_alive(&text(&early, "access_token")) && world.zoho.is_alive(&text(&waiting, "access_token")))
            .then_some(())
    };
    // A round is a minute.
    let within = Duration::from_secs(110);
    let waiting = async {
        while both().await.is_none() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(within, waiting).await.is_ok(), "not within {within:?}\n{}", operator.log());
    assert_eq!(world.zoho.stats().token.posts, 1);

    let user = format!("system:serviceaccount:{}:by-get", world.operator_namespace);
    drop(operator);
    let mut seen: Vec<AuditEntry> = Vec::new();
    eventually("the calls are in the audit log", async || {
        seen = world.audited(|entry| entry.user == user);
        seen.iter().any(|entry| entry.resource == "secrets" && entry.verb == "get").then_some(())
    })
    .await;
    let refused: Vec<&AuditEntry> = seen.iter().filter(|entry| entry.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(seen.iter().all(|entry| entry.resource != "secrets" || !matches!(entry.verb.as_str(), "list" | "watch")));
}

#[tokio::test]
async fn target_that_is_there_and_may_not_be_read_is_reported() {
    let world = World::new("by_get_refused").await;
    let name = "by-get-refused";
    let kubeconfig = account(&world, name, &world.namespace, &["create", "patch", "delete"]).await;
    // The right to read is for some names; that to create cannot be.
    let named = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
          "metadata": { "name": "read-named", "namespace": world.namespace },
          "rules": [{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["source"], "verbs": ["get"] }] },
        binding(name, &world.namespace, &world.operator_namespace, "Role", "read-named"),
    ] });
    world.cluster.apply_yaml(&named.to_string()).await.expect("applied");
    world.good_source("source").await;
    world.source("taken", &[("theirs", "canary0of0others")]).await;
    let operator = world.operator_as(&["--secret-access=get"], &kubeconfig);
    operator.synced().await;
    world.credential("one", "source", json!({ "target": { "name": "taken" } })).await;
    world.wait_for_reason("one", "ReadRefused").await;
    assert_eq!(world.zoho.stats().token.posts, 0, "what cannot be stored is not minted");
}

#[tokio::test]
async fn restart_by_get_reads_each_secret_once_and_writes_nothing() {
    let world = World::new("restart_by_get").await;
    world.good_source("source").await;
    let operator = world.operator_with(&["--secret-access=get"]);
    world.credential("one", "source", json!({})).await;
    let before = world.wait_ready("one").await;
    operator.kill();
    let operator = world.operator_with(&["--secret-access=get"]);
    operator.synced().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = world.get("one").await;
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
    assert_eq!(world.zoho.stats().token.posts, 1);
}
