//! Reasons that other tests do not come by on their way: each is reached, nothing is minted for it, and its cure heals.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use zoho_api::{ConditionStatus, ConditionType, Reason, ZohoCredential};
use zoho_simulator::script::Reply;

use crate::support::look::{condition, is, is_ready, message, text};
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, was_at_once};

async fn edit(world: &World, manager: &str, patch: Value) {
    let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    world.secrets().patch("one-token", &params, &Patch::Merge(patch)).await.expect("edited");
}

#[test]
fn every_reason_is_reached_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let texts: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder")
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .collect();
    let quoted = |reason: &Reason| format!("\"{reason}\"");
    let missing: BTreeSet<&str> = Reason::ALL
        .iter()
        .filter(|reason| !texts.iter().any(|text| text.contains(&quoted(reason))))
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(missing, BTreeSet::new(), "no test waits for these");
}

#[tokio::test]
async fn immutable_target_is_named_and_its_deletion_heals_without_a_mint() {
    let (world, _operator) = World::served("immutable").await;
    let token = world.token("one-token").await;
    edit(&world, "somebody", json!({ "immutable": true })).await;
    world.advance(2200);
    let seen = world.wait_for_reason("one", "TargetImmutable").await;
    assert!(message(&seen, ConditionType::Renewable).contains("kubectl delete secret"));
    assert!(is_ready(&seen), "its token works on");
    assert_eq!(world.token("one-token").await, token);
    assert_eq!(world.zoho.stats().token.posts, 1, "what cannot be stored is not minted");
    let started = Instant::now();
    world.delete_secret("one-token").await;
    world.wait_ready("one").await;
    was_at_once(started);
}

#[tokio::test]
async fn fight_over_a_target_ends_after_five_repairs_and_names_the_other() {
    let (world, _operator) = World::served("fight").await;
    let token = world.token("one-token").await.expect("a token");
    let planted = json!({ "stringData": { "authorization": "mine" } });
    for _ in 0..5 {
        edit(&world, "stubborn-tool", planted.clone()).await;
        eventually("it is put back", async || {
            let secret = world.secret("one-token").await?;
            (text(&secret, "authorization") != "mine").then_some(())
        })
        .await;
    }
    edit(&world, "stubborn-tool", planted).await;
    let seen = world.wait_for_reason("one", "TargetConflict").await;
    assert!(message(&seen, ConditionType::Renewable).contains("stubborn-tool"));
    let next = seen.status.and_then(|status| status.next_attempt_time).expect("the next look is named");
    assert!(next.unix() - world.zoho.now().as_second() > 500, "ten minutes of peace");
    world.advance(601);
    world.wait_ready("one").await;
    assert_eq!(world.token("one-token").await, Some(token), "put back with the token that it had");
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn spent_budget_is_named_with_the_time_of_the_next_slot() {
    let (world, operator) = World::served("budget").await;
    operator.kill();
    edit(&world, "somebody", json!({ "stringData": { "access_token": "1000.planted" } })).await;
    let _operator = world.operator_with(&["--max-attempts-per-10m", "1"]);
    let seen = world.wait_for_reason("one", "MintBudgetExhausted").await;
    assert!(!is_ready(&seen));
    assert_eq!(condition(&seen, ConditionType::Reconciling), Some(ConditionStatus::True), "it goes on by itself");
    let next = seen.status.and_then(|status| status.next_attempt_time).expect("the slot is named");
    assert_eq!(world.zoho.stats().token.posts, 1);
    world.advance(next.unix() - world.zoho.now().as_second() + 1);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn throttled_credential_is_left_in_silence_while_others_renew() {
    let world = World::new("silence").await;
    let _operator = world.operator();
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let others = world.zoho.register_many("other", 5);
    for (number, other) in others.iter().enumerate() {
        world.source_of(&format!("other-{number}"), other).await;
        world.credential(&format!("other-{number}"), &format!("other-{number}"), json!({})).await;
    }
    world.wait_ready("one").await;
    for number in 0..others.len() {
        world.wait_ready(&format!("other-{number}")).await;
    }
    world.zoho.script_for(REFRESH_TOKEN, Reply::Throttle);
    world.advance(1801);
    let seen = world.wait_for_reason("one", "Throttled").await;
    let until = seen.status.and_then(|status| status.throttled_until).expect("its end is named");
    for other in &others {
        world.zoho.wait_for_posts_of(&other.refresh_token, 2, Duration::from_secs(60)).await.expect("others renew");
    }
    let ask = |word: &str| json!({ "metadata": { "annotations": { "zoho-operator.dev/renew-requested": word } } });
    world.patch("one", ask("impatient")).await;
    while world.zoho.now().as_second() + 100 < until.unix() {
        world.advance(90);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.zoho.counts(REFRESH_TOKEN).posts, 2, "silence, whoever asks");
    }
    world.advance(101);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.counts(REFRESH_TOKEN).posts, 3);
}

#[tokio::test]
async fn admission_that_refuses_the_write_is_quoted_before_anything_is_minted() {
    let world = World::new("admission").await;
    let (name, namespace) = (format!("deny-{}", world.namespace), &world.namespace);
    let policy = format!(
        r#"{{ "apiVersion": "v1", "kind": "List", "items": [
            {{ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {{ "name": "{name}" }}, "spec": {{
                "matchConstraints": {{
                    "namespaceSelector": {{ "matchLabels": {{ "kubernetes.io/metadata.name": "{namespace}" }} }},
                    "resourceRules": [{{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"] }}] }},
                "validations": [{{ "expression": "!object.metadata.name.endsWith('-token')", "message": "tokens are not wanted here" }}] }} }},
            {{ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {{ "name": "{name}" }}, "spec": {{
                "policyName": "{name}", "validationActions": ["Deny"] }} }} ] }}"#
    );
    let applied = world.cluster.kubectl_stdin(&["apply", "-f", "-"], &policy).await.expect("kubectl");
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    eventually("the policy is enforced", async || {
        let create = ["create", "secret", "generic", "a-token", "--dry-run=server", "-n", namespace];
        let output = world.cluster.kubectl(&create).await.ok()?;
        (!output.status.success()).then_some(())
    })
    .await;
    let _operator = world.operator();
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let seen = world.wait_for_reason("one", "WriteRefused").await;
    assert!(message(&seen, ConditionType::Renewable).contains("tokens are not wanted here"));
    assert_eq!(world.zoho.stats().token.posts, 0);
    let remove = ["delete", "validatingadmissionpolicybinding", name.as_str()];
    world.cluster.kubectl(&remove).await.expect("kubectl");
    world.advance(31);
    world.wait_ready("one").await;
    let remove = ["delete", "validatingadmissionpolicy", name.as_str()];
    world.cluster.kubectl(&remove).await.expect("kubectl");
}

#[tokio::test]
async fn first_mint_that_takes_long_is_reported_as_work_going_on() {
    let world = World::new("slow_mint").await;
    let _operator = world.operator();
    world.zoho.script_for(REFRESH_TOKEN, Reply::HoldThenMint);
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let is_minting = |seen: &ZohoCredential| is(seen, ConditionType::Ready, "Minting");
    let seen = world.wait("one", "Minting", is_minting).await;
    assert_eq!(condition(&seen, ConditionType::Ready), Some(ConditionStatus::False));
    assert_eq!(condition(&seen, ConditionType::Renewable), Some(ConditionStatus::Unknown));
    assert_eq!(condition(&seen, ConditionType::Reconciling), Some(ConditionStatus::True), "kstatus: InProgress");
    world.zoho.release();
    let seen = world.wait_ready("one").await;
    assert_eq!(condition(&seen, ConditionType::Reconciling), None);
}
