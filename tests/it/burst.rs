//! Many credentials at once: Secrets come first, good news later, and what creates of a moment ago say ends with a refusal.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::world::World;

/// Credentials in one namespace.
const MANY: usize = 100;

/// So many sources and credentials, in a world whose operator has not started yet.
async fn world(test: &str) -> World {
    let world = World::new(test).await;
    world.create_many(&world.zoho.register_many(test, MANY)).await;
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
    let world = world("burst").await;
    let _operator = world.operator_with(&["--mint-rate", "0"]);
    let written = eventually("everything is told", async || {
        let written = writes(&world);
        (count(&written, "events") >= MANY && count(&written, "zohocredentials") >= MANY).then_some(written)
    })
    .await;
    let last = written.iter().rposition(|resource| resource == "secrets").expect("Secrets were written");
    let early = count(&written[..last], "zohocredentials");
    assert!(early < MANY * 7 / 10, "{early} of {MANY} statuses were written before the last Secret");
    assert_eq!((count(&written, "secrets"), count(&written, "events")), (MANY, MANY));
    assert_eq!(world.zoho.stats().token.posts, 100);
}

#[tokio::test]
async fn quota_that_is_used_up_in_a_burst_costs_what_is_under_way_and_no_more() {
    const ROOM: usize = 20;
    let world = world("burst-quota").await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "few", "namespace": world.namespace },
        "spec": { "hard": { "count/secrets": (MANY + ROOM).to_string() } },
    });
    world.cluster.apply_yaml(&quota.to_string()).await.expect("applied");
    eventually("the quota is counted", async || {
        let found = world.cluster.kubectl(&["get", "quota", "few", "-n", &world.namespace, "-o", "json"]).await;
        let found: Value = serde_json::from_slice(&found.expect("kubectl runs").stdout).unwrap_or_default();
        (found["status"]["used"]["count/secrets"] == json!(MANY.to_string())).then_some(())
    })
    .await;
    // So slowly that the first refusal comes while others still wait, and fast enough that none counts as hanging.
    world.zoho.set_latency(Duration::from_millis(900));
    let _operator = world.operator_with(&["--mint-rate", "0"]);
    eventually("who got no Secret says why", async || {
        let listed = world.credentials().list(&kube::api::ListParams::default()).await.expect("they can be listed");
        let refused = listed
            .items
            .iter()
            .filter(|one| crate::support::world::is(one, zoho_api::ConditionType::Renewable, "WriteRefused"));
        (refused.count() == MANY - ROOM).then_some(())
    })
    .await;
    let posts = world.zoho.stats().token.posts;
    // A namespace has 24 under way at once. While the first are stored the next are asked for, and on a busy machine a third
    // lot before the first refusal is read.
    assert!(posts <= 72, "{posts} requests for {ROOM} Secrets that there was room for");
}
