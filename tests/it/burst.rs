//! Many credentials at once: Secrets come first, good news later, and what creates of a moment ago say ends with a refusal.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::world::World;

/// A namespace has so many objects under way at once.
const AT_ONCE: usize = 24;

/// So many sources and credentials, in a world whose operator has not started yet.
async fn world(test: &str, many: usize) -> World {
    let world = World::new(test).await;
    world.create_many(&world.zoho.register_many(test, many)).await;
    world
}

/// The operator's writes in the world's namespace that passed, in order: `secrets`, `zohocredentials`, `events`.
fn writes(world: &World) -> Vec<String> {
    let passed = world.writes().into_iter().filter(|write| write.namespace == world.namespace && write.code < 300);
    passed.map(|write| write.resource).collect()
}

fn count(writes: &[String], resource: &str) -> usize {
    writes.iter().filter(|written| *written == resource).count()
}

#[tokio::test]
async fn secrets_come_before_good_news_and_all_of_it_comes() {
    const MANY: usize = 100;
    let world = world("burst", MANY).await;
    // Sixteen Secrets within a second are a burst.
    world.stop_clock();
    let _operator = world.operator_with(&["--mint-rate", "0"]);
    let written = eventually("all Secrets are stored", async || {
        let written = writes(&world);
        (count(&written, "secrets") == MANY).then_some(written)
    })
    .await;
    // Before there is a burst, each Secret is reported. Those that are under way when the operator starts are claimed first.
    let early = (count(&written, "zohocredentials"), count(&written, "events"));
    assert!(early.0 <= AT_ONCE + 16 && early.1 <= 16, "{early:?} statuses and Events before the last Secret");
    world.advance(0);
    let written = eventually("everything is told", async || {
        let written = writes(&world);
        (count(&written, "events") >= MANY && count(&written, "zohocredentials") >= MANY).then_some(written)
    })
    .await;
    assert_eq!((count(&written, "secrets"), count(&written, "events")), (MANY, MANY));
    assert_eq!(world.zoho.stats().token.posts, 100);
}

/// Waits until a quota has counted so many Secrets: before that it holds nothing up.
async fn is_counted(world: &World, quota: &str, secrets: usize) {
    eventually("the quota is counted", async || {
        let found = world.cluster.kubectl(&["get", "quota", quota, "-n", &world.namespace, "-o", "json"]).await;
        let found: Value = serde_json::from_slice(&found.expect("kubectl runs").stdout).unwrap_or_default();
        (found["status"]["used"]["count/secrets"] == json!(secrets.to_string())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn quota_that_is_used_up_in_a_burst_costs_what_is_under_way_and_no_more() {
    const MANY: usize = 250;
    const ROOM: usize = 20;
    let world = world("burst-quota", MANY).await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "few", "namespace": world.namespace },
        "spec": { "hard": { "count/secrets": (MANY + ROOM).to_string() } },
    });
    world.cluster.apply_yaml(&quota.to_string()).await.expect("applied");
    is_counted(&world, "few", MANY).await;
    // So slowly that the first refusal comes while others still wait, and fast enough that none counts as hanging.
    world.zoho.set_latency(Duration::from_millis(600));
    let _operator = world.operator_with(&["--mint-rate", "0"]);
    eventually("who got no Secret says why", async || {
        let listed = world.credentials().list(&kube::api::ListParams::default()).await.expect("they can be listed");
        let refused = listed
            .items
            .iter()
            .filter(|one| crate::support::look::is(one, zoho_api::ConditionType::Renewable, "WriteRefused"));
        (refused.count() == MANY - ROOM).then_some(())
    })
    .await;
    let refusals = world.audited(|entry| {
        entry.namespace == world.namespace && (&*entry.verb, &*entry.resource, entry.code) == ("create", "secrets", 403)
    });
    let first = refusals.iter().map(|refusal| refusal.timestamp).min().expect("a Secret was refused");
    let late = world.zoho.log().iter().filter(|request| request.at > first).count();
    // Those that were decided before, and those that took their places before the refusal was read.
    let all_others = MANY - ROOM - AT_ONCE;
    assert!(late < all_others / 2, "{late} requests after a Secret was refused");
}

#[tokio::test]
async fn renewals_are_not_held_up_by_credentials_that_get_no_secret() {
    const MANY: usize = 12;
    const REFUSED: usize = 6;
    let world = world("burst-refused", MANY).await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "full", "namespace": world.namespace },
        "spec": { "hard": { "count/secrets": (2 * MANY + REFUSED).to_string() } },
    });
    world.cluster.apply_yaml(&quota.to_string()).await.expect("applied");
    is_counted(&world, "full", MANY).await;
    let operator = world.operator_with(&["--mint-rate", "0"]);
    for number in 0..MANY {
        world.wait_ready(&format!("c{number}")).await;
    }
    operator.kill();
    let suspend = async |suspend: bool| {
        for number in 0..MANY {
            let patch = Patch::Merge(json!({ "spec": { "suspend": suspend } }));
            let name = format!("c{number}");
            world.credentials().patch(&name, &PatchParams::default(), &patch).await.expect("patched");
        }
    };
    suspend(true).await;
    world.advance(2000);
    let _operator = world.operator_with(&["--mint-rate", "1"]);
    // Another one is refused every five seconds: each is tried again after thirty.
    for (number, credential) in world.zoho.register_many("refused", REFUSED).iter().enumerate() {
        world.source_of(&format!("refused-source-{number}"), credential).await;
    }
    for number in 0..REFUSED {
        let name = format!("refused-{number}");
        world.credential(&name, &format!("refused-source-{number}"), json!({})).await;
        world.wait_for_reason(&name, "WriteRefused").await;
        world.advance(5);
    }
    suspend(false).await;
    let renewed = 2 * u64::try_from(MANY).expect("few");
    eventually("all are renewed, one a second", async || (world.zoho.stats().token.posts >= renewed).then_some(()))
        .await;
    assert_eq!(world.zoho.stats().token.posts, renewed, "no token is minted for those who can have no Secret");
}
