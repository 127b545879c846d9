//! The hash key is lost: nothing starts unasked, and a new key costs no token.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::support::look::{is, is_ready};
use crate::support::world::World;
use zoho_api::ConditionType;

const HASH_KEY: &str = "zoho-operator-hash-key";

#[tokio::test]
async fn lost_hash_key_is_told_with_the_cure_and_reset_without_a_needless_mint() {
    let world = World::new("lost_hash_key").await;
    world.good_source("source").await;
    let operator = world.operator();
    world.credential("one", "source", json!({})).await;
    world.credential("two", "source", json!({ "target": { "data": { "conf": "t={{ access_token }}" } } })).await;
    let before = world.wait_ready("one").await;
    world.wait_ready("two").await;
    let token = world.token("one-token").await.expect("a token");
    operator.kill();
    let keys = Api::<Secret>::namespaced(world.client.clone(), &world.operator_namespace);
    keys.delete(HASH_KEY, &DeleteParams::default()).await.expect("deleted");

    let operator = world.operator();
    let log = operator.log_at_the_end().await;
    assert!(log.contains("is missing although mint ledgers exist: restore it from a backup"), "{log}");
    assert!(log.contains("--reset-hash-key"), "{log}");

    let operator = world.operator_with(&["--reset-hash-key"]);
    operator.synced().await;
    // A pass over each object, and then some.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let after = world.get("one").await;
    assert_eq!(
        after.metadata.resource_version, before.metadata.resource_version,
        "nothing changed, nothing is written"
    );
    assert_eq!((world.token("one-token").await, world.zoho.stats().token.posts), (Some(token.clone()), 1));
    operator.kill();

    // The flag is not needed again. At the renewal the ledger is missed: what it counted may be alive.
    let _operator = world.operator();
    world.advance(2200);
    let seen = world
        .wait("one", "waiting for a full window", |seen| is(seen, ConditionType::Renewable, "MintBudgetExhausted"))
        .await;
    assert!(is_ready(&seen) && world.zoho.is_alive(&token), "the token goes on working meanwhile");
    assert_eq!(world.zoho.stats().token.posts, 1);
    world.advance(601);
    let renewed = |seen: &zoho_api::ZohoCredential| {
        is_ready(seen)
            && is(seen, ConditionType::Renewable, "TokenValid")
            && seen.status.as_ref().and_then(|status| status.expiration_time)
                > before.status.as_ref().and_then(|status| status.expiration_time)
    };
    world.wait("one", "renewed", renewed).await;
    world.wait("two", "renewed", renewed).await;
    assert_eq!(world.zoho.stats().token.posts, 2, "once, for both");
    assert_ne!(world.token("one-token").await, Some(token));
}

#[tokio::test]
async fn edited_target_after_a_reset_waits_for_the_window_too() {
    let world = World::new("edited_after_reset").await;
    world.good_source("source").await;
    let operator = world.operator();
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    operator.kill();
    let keys = Api::<Secret>::namespaced(world.client.clone(), &world.operator_namespace);
    keys.delete(HASH_KEY, &DeleteParams::default()).await.expect("deleted");
    let patch = kube::api::Patch::Merge(json!({ "stringData": { "expires_at": "never" } }));
    world.secrets().patch("one-token", &kube::api::PatchParams::default(), &patch).await.expect("edited");
    let _operator = world.operator_with(&["--reset-hash-key"]);
    world.wait_for_reason("one", "MintBudgetExhausted").await;
    assert_eq!(world.zoho.stats().token.posts, 1, "the seal of the old key says nothing, so the token is not known");
    world.advance(601);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn another_hash_key_beside_the_ledgers_costs_one_mint_after_the_window_and_no_token() {
    let (world, operator) = World::served("other_hash_key").await;
    let token = world.token("one-token").await.expect("a token");
    operator.kill();
    // As where a key of another time was restored beside the ledgers, or a new one was made before they were.
    let keys = Api::<Secret>::namespaced(world.client.clone(), &world.operator_namespace);
    let mut key = keys.get(HASH_KEY).await.expect("a key");
    keys.delete(HASH_KEY, &DeleteParams::default()).await.expect("deleted");
    (key.metadata.uid, key.metadata.resource_version) = (None, None);
    for bytes in key.data.as_mut().expect("data").values_mut() {
        bytes.0 = vec![7; bytes.0.len()];
    }
    keys.create(&PostParams::default(), &key).await.expect("created");

    // The seal of the former key says nothing to it, so it knows no token; the one in the target goes on working.
    let _operator = world.operator();
    world.wait_for_reason("one", "MintBudgetExhausted").await;
    world.advance(300);
    world.wait_for_reason("one", "MintBudgetExhausted").await;
    assert_eq!((world.token("one-token").await, world.zoho.stats().token.posts), (Some(token.clone()), 1));
    assert!(world.zoho.is_alive(&token));
    world.advance(301);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
    assert!(world.zoho.is_alive(&token), "who has not read the target again goes on");
}

#[tokio::test]
async fn expired_target_of_a_former_key_is_served_at_once() {
    let (world, operator) = World::served("former_key").await;
    operator.kill();
    let keys = Api::<Secret>::namespaced(world.client.clone(), &world.operator_namespace);
    keys.delete(HASH_KEY, &DeleteParams::default()).await.expect("deleted");
    // Whatever the ledger of that time has counted is dead by now.
    world.advance(4 * 3600);
    let started = std::time::Instant::now();
    let _operator = world.operator_with(&["--reset-hash-key"]);
    world.zoho.wait_for_posts(2, std::time::Duration::from_secs(60)).await.expect("a token is asked for");
    world.wait_ready("one").await;
    crate::support::tell(&format!("served {:.1} s after the start", started.elapsed().as_secs_f32()));
}
