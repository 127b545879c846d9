//! The hash key is lost: nothing starts unasked, and a new key costs no token.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
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
