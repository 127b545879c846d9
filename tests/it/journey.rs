//! The main road: a credential in, an always-valid Secret out.

use std::time::Duration;

use serde_json::json;
use zoho_api::{ConditionType, Time};

use crate::support::look::{is, is_ready, text};
use crate::support::tell;
use crate::support::world::World;

#[tokio::test]
async fn new_credential_gets_its_secret_and_renewal_replaces_it_before_expiry() {
    let world = World::new("journey").await;
    let operator = world.operator();
    operator.synced().await;
    world.good_source("zoho-oauth").await;
    let started = std::time::Instant::now();
    world.credential("patch", "zoho-oauth", json!({ "product": "PatchManagerPlus" })).await;
    let seen = world.wait_ready("patch").await;
    tell(&format!("new credential: Ready after {:?}", started.elapsed()));

    let secret = world.secret("patch-token").await.expect("the target");
    let first = text(&secret, "access_token");
    assert!(world.zoho.is_alive(&first));
    assert_eq!(text(&secret, "authorization"), format!("Zoho-oauthtoken {first}"));
    assert_eq!(text(&secret, "api_url"), "https://patch.manageengine.com");
    let status = seen.status.expect("a status");
    assert_eq!(text(&secret, "expires_at"), status.expiration_time.expect("an expiry").to_string());
    let owner = &secret.metadata.owner_references.as_ref().expect("an owner")[0];
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(false)));
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));

    let due = status.renewal_time.expect("a renewal time");
    let expires = status.expiration_time.expect("an expiry");
    assert!(
        due < expires && due + Duration::from_secs(36 * 60) >= expires,
        "{due} is 30 to 36 minutes before {expires}"
    );
    world.advance(due.unix() - Time::from(world.zoho.now()).unix() + 1);
    let renewed = world
        .wait("patch", "renewed", |seen| {
            is_ready(seen) && seen.status.as_ref().and_then(|status| status.expiration_time) > Some(expires)
        })
        .await;
    let second = world.token("patch-token").await.expect("the target");
    assert_ne!(first, second);
    assert!(world.zoho.is_alive(&first) && world.zoho.is_alive(&second), "the old token goes on working");
    assert_eq!(world.zoho.stats().token.mints, 2);
    assert!(is(&renewed, ConditionType::Renewable, "TokenValid"));
}
