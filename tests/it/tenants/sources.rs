//! What a tenant may name as source and as target, what the administrator decides of it, and that nobody's words carry a
//! value out of a Secret.

use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use zoho_api::{ConditionType, keys};

use crate::support::eventually;
use crate::support::look::{is_ready, message};
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};

/// A Secret of this type with the values of a good source, and one more.
async fn source(world: &World, name: &str, type_: &str, more: (&str, &str)) {
    let mut secret = json!({
        "metadata": { "name": name },
        "type": type_,
        "stringData": { "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN },
    });
    secret["stringData"][more.0] = json!(more.1);
    let secret = serde_json::from_value(secret).expect("a Secret");
    world.secrets().create(&PostParams::default(), &secret).await.expect("created");
}

async fn annotate(world: &World, secret: &str, key: &str, value: &str) {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: value } } }));
    world.secrets().patch(secret, &PatchParams::default(), &patch).await.expect("annotated");
}

#[tokio::test]
async fn secret_that_was_made_for_something_else_is_not_sent() {
    let world = World::new("source_type").await;
    let _operator = world.operator();
    source(&world, "key", "kubernetes.io/ssh-auth", ("ssh-privatekey", "k")).await;
    world.credential("one", "key", json!({})).await;
    let seen = world.wait_for_reason("one", "SourceSecretInvalid").await;
    let text = message(&seen, ConditionType::Renewable);
    assert!(text.contains("has type kubernetes.io/ssh-auth") && text.contains("spec.secretRef"), "{text}");
    assert_eq!(world.zoho.stats().token.posts, 0);
    source(&world, "login", "kubernetes.io/basic-auth", ("username", "u")).await;
    world.patch("one", json!({ "spec": { "secretRef": { "name": "login" } } })).await;
    world.wait_ready("one").await;
}

#[tokio::test]
async fn administrator_decides_on_consent_data_centers_and_replication() {
    let world = World::new("administrator").await;
    let limits = ["--require-source-consent", "--data-centers", "US,AU"];
    let operator = world.operator_with(&limits);
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    world.credential("abroad", "source", json!({ "dataCenter": "EU" })).await;
    let mark = json!({ "annotations": { "replicator.v1.mittwald.de/replicate-to": "*" } });
    world.credential("copied", "source", json!({ "target": mark })).await;

    let refused = [
        ("one", "SourceSecretInvalid", "zoho-operator.dev/source-for=one"),
        ("abroad", "AccountsHostNotAllowed", "allowed: US, AU"),
        ("copied", "InvalidSpec", "--allow-replication"),
    ];
    for (name, reason, text) in refused {
        let said = message(&world.wait_for_reason(name, reason).await, ConditionType::Renewable);
        assert!(said.contains(text), "{name}: {said}");
    }
    assert_eq!(world.zoho.stats().token.posts, 0);
    annotate(&world, "source", keys::SOURCE_FOR, "one, copied").await;
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1);

    // Consent that is withdrawn while the operator is away is missed when it is back, although the status says that all is
    // well; and where it is not asked for, nothing is missed.
    operator.kill();
    let operator = world.operator_with(&[&limits[..], &["--allow-replication"]].concat());
    world.wait_ready("copied").await;
    annotate(&world, "source", keys::SOURCE_FOR, "copied").await;
    let seen = world.wait_for_reason("one", "SourceSecretInvalid").await;
    assert!(is_ready(&seen), "its token works on");
    operator.kill();
    let _operator = world.operator();
    world.wait_ready("one").await;
}

#[tokio::test]
async fn secret_is_taken_over_once_with_a_count_of_the_keys_that_went_and_its_consent_is_used_up() {
    let world = World::new("adoption").await;
    let operator = world.operator();
    for (name, type_) in [("one-token", "Opaque"), ("two-token", "kubernetes.io/basic-auth")] {
        source(&world, name, type_, ("username", "theirs")).await;
    }
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    world.credential("two", "source", json!({})).await;
    let offer = message(&world.wait_for_reason("one", "TargetNotOwned").await, ConditionType::Renewable);
    assert!(offer.contains("removes every key that spec.target does not define"), "{offer}");
    world.wait_for_reason("two", "TargetNotOwned").await;
    // The operator is away while the owners consent.
    operator.kill();
    annotate(&world, "one-token", keys::ADOPT, "one").await;
    annotate(&world, "two-token", keys::ADOPT, "two").await;
    let _operator = world.operator();
    world.wait_ready("one").await;
    let target = world.secret("one-token").await.expect("the target");
    assert!(!target.metadata.annotations.expect("annotations").contains_key(keys::ADOPT), "the consent is used up");
    let event = "Adopted Secret NS/one-token was taken over and holds the token now; 4 keys of it were removed.";
    let event = event.replace("NS", &world.namespace);
    eventually("the Event says so", async || world.events_of("one").await.contains(&event).then_some(())).await;

    let text = "has type kubernetes.io/basic-auth";
    world.wait("two", text, |seen| message(seen, ConditionType::Renewable).contains(text)).await;
    let untouched = world.secret("two-token").await.expect("the other's");
    assert_eq!(untouched.data.expect("data").len(), 4);
    assert!(untouched.metadata.owner_references.is_none());
}

#[tokio::test]
async fn planted_former_target_is_left_and_looked_at_once() {
    // More than one pass looks at.
    const MANY: usize = 40;
    let (world, operator) = World::served("planted_former").await;
    let uid = world.get("one").await.metadata.uid;
    let planted = |number: usize| {
        json!({
            "metadata": {
                "name": format!("precious-{number}"),
                "ownerReferences": [{
                    "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential", "name": "one", "uid": uid, "controller": true,
                }],
                "annotations": {
                    keys::ISSUED_AT: "2020-01-01T00:00:00Z", keys::EXPIRES_AT: "2020-01-01T01:00:00Z",
                    keys::MINTED_FROM: "k.1", keys::ATTEMPT: "a", keys::SEAL: "k.2", keys::TOKEN_AT: "key/0/5",
                },
            },
            "stringData": { "key": "value" },
        })
    };
    let mut all = Vec::new();
    for number in 0..MANY {
        let planted = serde_json::from_value(planted(number)).expect("a Secret");
        all.push(world.secrets().create(&PostParams::default(), &planted).await.expect("created"));
    }
    // A real one goes, by passes that see the planted one too.
    world.patch("one", json!({ "spec": { "target": { "name": "renamed" } } })).await;
    world
        .wait("one", "renamed", |seen| {
            seen.status.as_ref().and_then(|status| status.target.as_deref()) == Some("renamed") && is_ready(seen)
        })
        .await;
    world.advance(2200);
    eventually("it is renewed", async || (world.zoho.stats().token.mints == 2).then_some(())).await;
    world.wait_ready("one").await;
    world.advance(1500);
    eventually("the former target is deleted", async || world.secret("one-token").await.is_none().then_some(())).await;
    let left_alone = "does not bear this operator's seal";
    eventually("all are looked at", async || (operator.log().matches(left_alone).count() >= MANY).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(operator.log().matches(left_alone).count(), MANY, "they are not read at every pass");
    for (number, planted) in all.into_iter().enumerate() {
        assert_eq!(world.secret(&format!("precious-{number}")).await, Some(planted));
    }
}

/// Refuses real writes of targets, in words that quote what is written and what stands there.
async fn talkative_policy(world: &World) -> String {
    let (name, namespace) = (format!("quote-{}", world.namespace), &world.namespace);
    let quote = |object: &str| {
        format!(
            "string({object}.data.access_token) + ' {{\"authorization\":\"' + string({object}.data.authorization) + '\"}}'"
        )
    };
    let words = format!(
        "'quoted: ' + {} + ' for ' + (oldObject != null ? {} : 'nothing')",
        quote("object"),
        quote("oldObject")
    );
    let policy = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name }, "spec": {
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"] }],
            },
            "validations": [{ "expression": "request.dryRun || !object.metadata.name.endsWith('-token')", "messageExpression": words }],
        } },
        { "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": ["Deny"] } },
    ] });
    let applied = world.cluster.kubectl_stdin(&["apply", "-f", "-"], &policy.to_string()).await.expect("kubectl");
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let probe =
        json!({ "metadata": { "name": "a-token" }, "stringData": { "access_token": "t", "authorization": "a" } });
    let probe = serde_json::from_value(probe).expect("a Secret");
    eventually("the policy quotes", async || {
        let refused = world.secrets().create(&PostParams::default(), &probe).await.err();
        if refused.is_none() {
            world.delete_secret("a-token").await;
        }
        // As text or in base64, whichever the expression language makes of it.
        let words = refused?.to_string();
        (words.contains("quoted: t ") || words.contains("quoted: dA==")).then_some(())
    })
    .await;
    name
}

#[tokio::test]
async fn token_that_a_policy_quotes_stands_nowhere() {
    let world = World::new("quoted").await;
    let operator = world.operator();
    world.serve_one().await;
    let before = world.token("one-token").await.expect("a token");
    let policy = talkative_policy(&world).await;
    // A process that does not know what stands in the target.
    operator.kill();
    let operator = world.operator();
    world.advance(2200);
    let other = world.zoho.register_many("other", 1).remove(0);
    world.source_of("other", &other).await;
    world.credential("two", "other", json!({})).await;
    for (name, words) in [("one", "quoted: *** for ***"), ("two", "quoted: *** for nothing")] {
        let said = message(&world.wait_for_reason(name, "WriteRefused").await, ConditionType::Renewable);
        let without_json = said.replace(r#" {"authorization":"***"}"#, "");
        assert!(without_json.contains(words), "{name}: {said}");
    }
    assert_eq!(world.zoho.stats().token.mints, 3, "what was quoted is alive");
    let mut told = operator.log();
    for name in ["one", "two"] {
        let event = "the Event is there";
        let events = eventually(event, async || {
            let events = world.events_of(name).await;
            events.iter().any(|event| event.contains("WriteRefused")).then_some(events)
        });
        told += &serde_json::to_string(&(world.get(name).await, events.await)).expect("JSON");
    }
    assert!(world.canaries().contains(&before), "the former token is looked for, too");
    for canary in world.canaries() {
        assert!(!told.contains(&canary), "a secret is told");
    }
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        world.cluster.kubectl(&["delete", kind, &policy]).await.expect("kubectl");
    }
    world.advance(31);
    world.wait_ready("one").await;
    world.wait_ready("two").await;
}
