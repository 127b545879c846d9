//! Admission that changes what is written, that is not there to be asked, and rights that are taken away.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zoho_api::ConditionType;

use crate::secret_access::account;
use crate::support::look::{is, is_ready, message, text};
use crate::support::world::World;
use crate::support::{eventually, tell};

/// Changes every Secret of a world whose name ends so, as the expression says.
async fn mutating_policy(world: &World, expression: &str) -> String {
    let (name, namespace) = (format!("change-{}", world.namespace), &world.namespace);
    let kind = |kind: &str, spec: Value| json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name }, "spec": spec });
    let policy = json!({
        "matchConstraints": {
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"] }],
        },
        "matchConditions": [{ "name": "targets", "expression": "object.metadata.name.endsWith('-token')" }],
        "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } }],
        "failurePolicy": "Fail", "reinvocationPolicy": "Never",
    });
    let items = [
        kind("MutatingAdmissionPolicy", policy),
        kind("MutatingAdmissionPolicyBinding", json!({ "policyName": name })),
    ];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    world.cluster.apply_yaml(&list.to_string()).await.expect("applied");
    eventually("the policy is enforced", async || {
        let probe = world.source("probe-token", &[("authorization", "probe")]).await;
        let is_changed = probe.metadata.labels.is_some() || text(&probe, "authorization") != "probe";
        world.delete_secret("probe-token").await;
        is_changed.then_some(())
    })
    .await;
    name
}

async fn remove(world: &World, kinds: &[&str], name: &str) {
    for kind in kinds {
        let output = world.cluster.kubectl(&["delete", kind, name]).await.expect("kubectl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

const MUTATING: [&str; 2] = ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"];

/// The operator's writes of Secrets in a world.
fn writes_of_secrets(world: &World) -> usize {
    world.writes().iter().filter(|write| write.namespace == world.namespace && write.resource == "secrets").count()
}

/// A webhook of this name for what is written in a namespace, that nobody serves: the API server answers with 500.
pub(crate) fn unserved_webhook(name: &str, namespace: &str, (group, resource): (&str, &str)) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": namespace },
        "webhooks": [{
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 1, "clientConfig": { "url": "https://127.0.0.1:1/" },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "rules": [{ "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE", "UPDATE"] }],
        }],
    })
}

#[tokio::test]
async fn policy_that_adds_a_label_to_every_target_causes_no_further_write() {
    let world = World::new("adds_a_label").await;
    let expression = "Object{metadata: Object.metadata{labels: Object.metadata.labels{team: 'a'}}}";
    let policy = mutating_policy(&world, expression).await;
    let _operator = world.operator();
    world.serve_one().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((writes_of_secrets(&world), world.zoho.stats().token.posts), (1, 1));
    let labels = world.secret("one-token").await.and_then(|target| target.metadata.labels).expect("labels");
    assert_eq!(labels.get("team").map(String::as_str), Some("a"));
    remove(&world, &MUTATING, &policy).await;
}

#[tokio::test]
async fn policy_that_changes_what_is_in_every_target_is_a_conflict_and_costs_no_mint() {
    let world = World::new("changes_content").await;
    let policy = mutating_policy(&world, "Object{data: {'authorization': 'bWluZQ=='}}").await;
    let _operator = world.operator();
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    world.wait_for_reason("one", "TargetConflict").await;
    let writes = writes_of_secrets(&world);
    assert!(writes <= 8, "{writes} writes until it is a conflict");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(writes_of_secrets(&world), writes, "it is left in peace then");
    assert_eq!(world.zoho.stats().token.posts, 1);
    remove(&world, &MUTATING, &policy).await;
    world.advance(601);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1, "and healed with the token at hand");
}

#[tokio::test]
async fn webhook_that_nobody_serves_is_named_before_anything_is_minted_and_heals() {
    let world = World::new("webhook").await;
    let mut webhook = unserved_webhook("no.secrets.example", &world.namespace, ("", "secrets"));
    webhook["webhooks"][0]["matchConditions"] =
        json!([{ "name": "targets", "expression": "object.metadata.name.endsWith('-token')" }]);
    world.cluster.apply_yaml(&webhook.to_string()).await.expect("applied");
    eventually("the webhook is asked", async || {
        let create = ["create", "secret", "generic", "a-token", "--dry-run=server", "-n", &world.namespace];
        (!world.cluster.kubectl(&create).await.ok()?.status.success()).then_some(())
    })
    .await;
    let _operator = world.operator();
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let seen = world.wait_for_reason("one", "WriteRefused").await;
    let said = message(&seen, ConditionType::Renewable);
    assert!(said.contains("no.secrets.example"), "{said}");
    assert_eq!(world.zoho.stats().token.posts, 0);
    remove(&world, &["validatingwebhookconfiguration"], &world.namespace).await;
    world.advance(31);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn rights_that_are_taken_away_are_a_reason_that_costs_no_mint_and_heal_when_they_are_back() {
    let world = World::new("rights").await;
    let all = ["get", "list", "watch", "create", "patch", "delete"];
    let kubeconfig = account(&world, "thin", &world.namespace, &all).await;
    let _operator = world.operator_as(&[], &kubeconfig);
    world.serve_one().await;
    account(&world, "thin", &world.namespace, &all[..3]).await;
    world.advance(2200);
    let started = Instant::now();
    let seen = world.wait("one", "refused", |seen| is(seen, ConditionType::Renewable, "WriteRefused")).await;
    assert!(is_ready(&seen), "its token works on");
    tell(&format!("rights gone: said after {:.1} s", started.elapsed().as_secs_f32()));
    let posts = world.zoho.stats().token.posts;
    assert!(posts <= 2);
    world.advance(31);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.zoho.stats().token.posts, posts, "what cannot be stored is not minted again");
    account(&world, "thin", &world.namespace, &all).await;
    world.advance(31);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}
