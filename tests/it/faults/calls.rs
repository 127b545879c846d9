//! Calls to the API server that are not answered, answered byte by byte, or answered with "too many requests".

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use zoho_testkit::fault_proxy::{Action, Answer, Match, Verb, Window};

use super::behind_a_proxy;
use crate::support::{eventually, tell};

/// What a call may take at most, with what comes before and after it.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(18);

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn call_that_hangs_or_drips_is_given_up_and_holds_up_no_other() {
    let drip = Action::Drip { bytes: 1, every: Duration::from_secs(1) };
    for (name, action) in [("hangs", Action::Hang), ("drips", drip)] {
        let (world, proxy, _operator) = behind_a_proxy(&format!("call_{name}")).await;
        world.good_source("source").await;
        world.source_of("other", &world.zoho.register_many("other", 1)[0]).await;
        let rule = proxy.rule(Match::new(Verb::Get, "secrets").name("source"), Window::ONCE, action);
        world.credential("one", "source", json!({})).await;
        eventually("it is asked for", async || (proxy.seen(rule) > 0).then_some(())).await;
        let started = Instant::now();
        world.credential("other", "other", json!({})).await;
        world.wait_ready("other").await;
        // A call that hangs holds up who waits for it for ten.
        assert!(started.elapsed() < Duration::from_secs(9), "{name}: {:?}", started.elapsed());
        eventually("it is asked for again", async || (proxy.seen(rule) > 1).then_some(())).await;
        let took = started.elapsed();
        tell(&format!("a call that {name} was made again after {:.1} s", took.as_secs_f32()));
        assert!(took < GIVEN_UP_WITHIN, "{name}: {took:?}\n{}", proxy.transcript());
        world.wait_ready("one").await;
        assert_eq!(world.zoho.stats().token.posts, 2);
    }
}

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn too_many_requests_is_waited_for_without_a_mint_and_without_a_call_that_sleeps() {
    join_all(["1", "60", "3600", "soon"].map(answers_429)).await;
}

async fn answers_429(retry_after: &'static str) {
    let (world, proxy, _operator) = behind_a_proxy(&format!("retry_after_{retry_after}")).await;
    world.good_source("source").await;
    let on = Match::new(Verb::Create, "zohomintledgers");
    let rule = proxy.rule(on, Window::ALWAYS, Action::Answer(Answer::too_many_requests(retry_after)));
    world.credential("one", "source", json!({})).await;
    eventually("it is tried", async || (proxy.seen(rule) > 0).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let tries = proxy.seen(rule);
    assert!(tries <= 8, "{retry_after}: {tries} tries in 8 s");
    assert_eq!(world.zoho.stats().token.posts, 0, "{retry_after}: no entry, no request");
    proxy.remove(rule);
    let lifted = Instant::now();
    world.wait_ready("one").await;
    let took = lifted.elapsed();
    tell(&format!("Retry-After: {retry_after}: {tries} tries in 8 s, served {:.1} s after it", took.as_secs_f32()));
    assert!(took < Duration::from_secs(35), "{retry_after}: {took:?}");
    assert_eq!(world.zoho.stats().token.posts, 1);
}
