//! What the operator asks of the API server, counted by the API server's own audit log.

use std::time::Duration;

use serde_json::json;
use zoho_api::Time;
use zoho_testkit::control_plane::{AuditEntry, Identity};

use crate::support::look::is_ready;
use crate::support::world::World;

/// The calls of operators on behalf of objects in this world: no watches, no lists, nothing of start-up.
fn calls(world: &World, since: usize) -> Vec<AuditEntry> {
    let calls = world.audited(|entry| {
        entry.user == Identity::Operator.user()
            && [&world.namespace, &world.operator_namespace].contains(&&entry.namespace)
            && !matches!(entry.verb.as_str(), "watch" | "list")
            && !entry.name.ends_with("-hash-key")
    });
    calls.into_iter().skip(since).collect()
}

fn summary(calls: &[AuditEntry]) -> Vec<String> {
    let dry = |entry: &AuditEntry| if entry.uri.contains("dryRun") { " (dry run)" } else { "" };
    calls
        .iter()
        .map(|entry| {
            format!(
                "{} {}{} {}{}",
                entry.verb,
                entry.resource,
                if entry.subresource.is_empty() { "" } else { "/status" },
                entry.code,
                dry(entry)
            )
        })
        .collect()
}

/// Entries appear some milliseconds after the answer: waits until there are as many, then a moment for one too many.
async fn wait_for_calls(world: &World, since: usize, count: usize) -> Vec<String> {
    crate::support::eventually(&format!("{count} calls"), async || (calls(world, since).len() >= count).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    summary(&calls(world, since))
}

#[tokio::test]
async fn new_credential_costs_six_calls_the_next_like_it_five_renewal_four_and_quiet_none() {
    let world = World::new("calls").await;
    // Before the operator starts, so that it knows them when they are used.
    world.good_source("source").await;
    let other = world.zoho.register_many("calls", 1).remove(0);
    world.source_of("other", &other).await;
    let operator = world.operator();
    operator.synced().await;
    // A first mint that takes two seconds is told of by a status of its own; while the clock stands still none does.
    world.stop_clock();
    world.credential("first", "source", json!({})).await;
    world.wait_ready("first").await;
    let claimed = wait_for_calls(&world, 0, 7).await;
    // The first credential of an installation is claimed by a write of its own: another one may have started too.
    assert_eq!(
        claimed,
        [
            "patch zohocredentials/status 200",
            "get secrets 200",
            "create secrets 201 (dry run)",
            "create zohomintledgers 201",
            "create secrets 201",
            "patch zohocredentials/status 200",
            "create events 201",
        ]
    );

    world.credential("one", "other", json!({})).await;
    let seen = world.wait_ready("one").await;
    // No dry run: a Secret of the same shape was created in the namespace a moment ago.
    let created = wait_for_calls(&world, 7, 5).await;
    assert_eq!(
        created,
        [
            "get secrets 200",
            "create zohomintledgers 201",
            "create secrets 201",
            "patch zohocredentials/status 200",
            "create events 201",
        ]
    );

    let times = |seen: zoho_api::ZohoCredential| {
        let status = seen.status.expect("a status");
        (status.renewal_time.expect("a time"), status.expiration_time.expect("a time"))
    };
    let (first, one) = (times(world.get("first").await), times(seen));
    let due = first.0.max(one.0);
    world.advance(due.unix() - Time::from(world.zoho.now()).unix() + 1);
    for (name, (_, expires)) in [("first", first), ("one", one)] {
        let is_renewed = |seen: &zoho_api::ZohoCredential| {
            is_ready(seen) && seen.status.as_ref().and_then(|status| status.expiration_time) > Some(expires)
        };
        world.wait(name, "renewed", is_renewed).await;
    }
    // Both at about the same time.
    let mut renewed = wait_for_calls(&world, 12, 8).await;
    renewed.sort();
    renewed.dedup();
    assert_eq!(
        renewed,
        ["get secrets 200", "patch secrets 200", "patch zohocredentials/status 200", "update zohomintledgers 200"]
    );

    // Two heartbeats in which nothing happens.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(summary(&calls(&world, 20)), Vec::<String>::new());
    assert_eq!(world.zoho.stats().token.posts, 4);
}

#[tokio::test]
async fn hundred_credentials_are_served_by_exactly_a_hundred_posts_and_a_restart_by_none() {
    let world = World::new("hundred").await;
    let credentials = world.zoho.register_many("load", 100);
    let operator = world.operator();
    operator.synced().await;
    world.create_many(&credentials).await;
    for number in 0..100 {
        world.wait_ready(&format!("c{number}")).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 100);

    operator.kill();
    // What was under way is in the audit log by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let last = calls(&world, 0).len();
    let listed = lists_of_secrets(&world);
    let restarted = world.operator();
    restarted.synced().await;
    // A pass over every object, and then some.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let since = summary(&calls(&world, last));
    let own_events: Vec<&String> = since.iter().filter(|call| call.contains("events")).collect();
    assert_eq!(since.len(), own_events.len(), "a restart reads, writes and mints nothing: {since:?}");
    assert_eq!(lists_of_secrets(&world) - listed, 1, "one page of metadata");
    assert_eq!(world.zoho.stats().token.posts, 100);
}

fn lists_of_secrets(world: &World) -> usize {
    let is_list = |entry: &AuditEntry| {
        entry.user == Identity::Operator.user()
            && (entry.namespace.as_str(), entry.resource.as_str(), entry.verb.as_str())
                == (&world.namespace, "secrets", "list")
    };
    world.audited(is_list).len()
}
