//! Random refresh tokens: few are tried, and none leaves a ledger for long.

use std::time::Duration;

use kube::api::ListParams;
use serde_json::json;
use zoho_api::keys;

use super::{Tenant, operator_for};
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};
use crate::support::{eventually, tell};

async fn ledgers_of(world: &World, namespace: &str) -> usize {
    let of = ListParams::default().labels(&format!("{}={namespace}", keys::NAMESPACE));
    world.ledgers().list(&of).await.expect("ledgers can be listed").items.len()
}

#[tokio::test]
async fn random_refresh_tokens_bring_eight_ledgers_in_ten_minutes_and_they_go() {
    let world = World::new("random_tokens").await;
    let flooder = Tenant::new(&world, "flooder").await;
    let _operator = operator_for(&world, &[&flooder], &[]);
    let source = async |refresh_token: &str| {
        let pairs = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", refresh_token)];
        flooder.source("source", &pairs).await;
    };
    source("1000.canary0random0token").await;
    flooder.credential("one", json!({ "dataCenter": "US", "secretRef": { "name": "source" } })).await;
    flooder.wait_for("one", &["RefreshTokenRejected"]).await;
    let (mut most, mut after) = (0, 0);
    // Ten a second, sixty at least, and twenty once there are eight ledgers, however long those took.
    for number in 0..600 {
        source(&format!("1000.canary0random0token{number}")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(ledgers_of(&world, &flooder.namespace).await);
        after += usize::from(most >= 8);
        if number >= 59 && after >= 20 {
            break;
        }
    }
    flooder.wait_for("one", &["MintBudgetExhausted"]).await;
    tell(&format!("random refresh tokens: {most} ledgers, {} requests", world.zoho.stats().token.posts));
    assert_eq!((most, world.zoho.stats().token.posts), (8, 8));

    // Others are not held up, and who was gets his turn.
    world.serve_one().await;
    source(REFRESH_TOKEN).await;
    world.advance(601);
    flooder.wait_for("one", &["TokenValid"]).await;
    eventually("the ledgers go", async || (ledgers_of(&world, &flooder.namespace).await == 0).then_some(())).await;
    assert_eq!(ledgers_of(&world, &world.namespace).await, 1, "that of the one refresh token that works");
}
