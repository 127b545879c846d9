//! SIGTERM at every write, and a second one: what was begun is finished or can be resolved, and the lease goes last.

use std::time::{Duration, Instant};

use kube::api::ListParams;
use serde_json::json;
use zoho_simulator::script::{Reply, Script};
use zoho_testkit::fault_proxy::{Action, Answer, FaultProxy, Match, Point, Verb, Window};

use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, tell};

/// Writes that do not count: Events are good news, and a lease is renewed all the time.
fn last_writes(proxy: &FaultProxy) -> Vec<String> {
    let is_write = |record: &&zoho_testkit::fault_proxy::Record| {
        record.call.verb.is_write() && !record.call.is_dry_run && record.call.resource != "events"
    };
    proxy.trace().iter().filter(is_write).map(|record| record.call.resource.clone()).collect()
}

#[tokio::test]
async fn sigterm_at_any_write_finishes_or_leaves_what_the_next_process_resolves() {
    let status = || Match::new(Verb::Patch, "zohocredentials").subresource("status");
    let writes = [
        ("claim", status(), 1),
        ("reservation", Match::new(Verb::Create, "zohomintledgers"), 1),
        ("target", Match::new(Verb::Create, "secrets").dry_run(false), 1),
        ("status", status(), 2),
    ];
    for (name, on, nth) in writes {
        let world = World::new(&format!("sigterm_{name}")).await;
        let proxy = world.proxy();
        let operator = world.operator_behind(&proxy, &["--leader-elect"]);
        operator.leading().await;
        world.good_source("source").await;
        let mut point = proxy.breakpoint(on, Window::nth(nth), Point::Arrived);
        world.credential("one", "source", json!({})).await;
        let stopped = point.reached().await.expect("it comes to that write");
        operator.signal("TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        stopped.go_on();
        let (code, took) = operator.ended().await;
        assert_eq!(code, Some(0), "{name}");
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
        let writes = last_writes(&proxy);
        assert_eq!(writes.last().map(String::as_str), Some("leases"), "{name}: the lease goes last: {writes:?}");
        let posts = world.zoho.stats().token.posts;
        let _next = world.operator();
        world.advance(31);
        world.wait_ready("one").await;
        let counts = world.zoho.stats().token;
        assert!(posts == 0 || counts.posts == 1, "{name}: what was minted is stored: {posts}, then {}", counts.posts);
        assert_eq!(counts.posts, 1, "{name}");
    }
}

#[tokio::test]
async fn token_whose_write_fails_while_the_process_ends_is_written_again() {
    let world = World::new("sigterm_store_fails").await;
    let proxy = world.proxy();
    let operator = world.operator_behind(&proxy, &["--leader-elect"]);
    operator.leading().await;
    world.zoho.set_latency(Duration::from_secs(2));
    world.good_source("source").await;
    let failing = proxy.rule(
        Match::new(Verb::Create, "secrets").dry_run(false),
        Window::times(2),
        Action::Answer(Answer::internal_error()),
    );
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a request");
    operator.signal("TERM");
    let (code, took) = operator.ended().await;
    assert_eq!(code, Some(0));
    assert!(proxy.seen(failing) > 2, "it is tried until it is written: {}", proxy.seen(failing));
    assert!(world.secret("one-token").await.is_some(), "after {took:?}");
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn second_sigterm_ends_at_once_and_costs_one_mint_at_most() {
    let world = World::new("second_sigterm").await;
    let mut operator = world.operator();
    world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::MintThenHold));
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a request");
    operator.signal("TERM");
    eventually("it has heard", async || operator.log().contains("finishing what is in flight").then_some(())).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(operator.has_ended().is_none(), "it waits for the answer");
    let asked = Instant::now();
    operator.signal("TERM");
    let (code, _) = operator.ended().await;
    tell(&format!("ended {:.1} s after the second SIGTERM", asked.elapsed().as_secs_f32()));
    // One that waits for the answer ends with 0.
    assert_eq!(code, Some(1));
    world.zoho.clear_scripts();
    let ledgers = world.ledgers().list(&ListParams::default()).await.expect("listed").items;
    assert_eq!(ledgers[0].spec.attempts.len(), 1, "the entry speaks for what may have been minted");
    let _next = world.operator();
    world.advance(31);
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.advance(61);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}
