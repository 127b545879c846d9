//! Killed at the worst moments, and started again.

use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use serde_json::json;
use zoho_simulator::script::{Reply, Script};

use crate::support::look::is_ready;
use crate::support::world::{REFRESH_TOKEN, World};

#[tokio::test]
async fn thirty_kills_between_post_and_secret_never_leave_more_than_seven_tokens_alive() {
    let world = World::new("thirty_kills").await;
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    world.zoho.script_for(REFRESH_TOKEN, Script::until_cleared(Reply::MintThenHold));
    for kill in 1..=30 {
        let operator = world.operator();
        if let Err(late) = world.zoho.wait_for_posts(kill, Duration::from_secs(60)).await {
            panic!("kill {kill}: {late}\n{:#?}\n{}", world.get("one").await.status, operator.log());
        }
        operator.kill();
        assert!(world.secret("one-token").await.is_none(), "killed before the Secret");
        // Seven tokens may be alive, so one more each seventh of a life.
        world.advance(3630 / 7 + 2);
    }
    let stats = world.zoho.stats().token;
    assert_eq!((stats.posts, stats.evictions, stats.throttled), (30, 0, 0));
    let most = world.zoho.max_alive_seen(REFRESH_TOKEN);
    assert!((6..=7).contains(&most), "{most} alive at once: the budget was reached, and kept");

    let operator = world.operator();
    world.zoho.wait_for_posts(31, Duration::from_secs(60)).await.expect("the seventh token that may be alive");
    operator.kill();
    // Every pause after an attempt of unknown outcome is over, and none of the seven has expired: only the budget is left.
    world.advance(430);
    world.stop_clock();
    for _ in 0..3 {
        let operator = world.operator();
        operator.synced().await;
        world.wait_for_reason("one", "MintBudgetExhausted").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        operator.kill();
    }
    assert_eq!(world.zoho.stats().token.posts, 31, "while seven may be alive, nothing is asked for");

    world.zoho.clear_scripts();
    world.advance(3630 / 7 - 430 + 2);
    let _operator = world.operator();
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.evictions, 0);
}

#[tokio::test]
async fn kills_in_quick_succession_cost_one_mint_together() {
    let world = World::new("quick_kills").await;
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    world.zoho.script_for(REFRESH_TOKEN, Script::until_cleared(Reply::MintThenHold));
    let operator = world.operator();
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a POST");
    operator.kill();
    // A minute later it is tried again, and four starts may take that long.
    world.stop_clock();
    for _ in 0..4 {
        let operator = world.operator();
        operator.synced().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        operator.kill();
    }
    assert_eq!(world.zoho.stats().token.posts, 1, "what may be on its way is waited for");
    world.zoho.clear_scripts();
    world.advance(61);
    let _operator = world.operator();
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight() {
    let world = World::new("sigterm").await;
    let operator = world.operator();
    world.good_source("source").await;
    world.zoho.set_latency(Duration::from_secs(2));
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a POST");
    let (code, took) = operator.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(20), "{took:?}");
    let token = world.token("one-token").await.expect("the token that was asked for is stored");
    assert!(world.zoho.is_alive(&token));
    world.zoho.set_latency(Duration::ZERO);
    let _operator = world.operator();
    assert!(is_ready(&world.wait_ready("one").await));
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn sigterm_stores_every_token_that_comes_though_one_request_hangs() {
    let world = World::new("sigterm_many").await;
    let operator = world.operator();
    world.good_source("hanging").await;
    let many = world.zoho.register_many("many", 30);
    for (number, registered) in many.iter().enumerate() {
        world.source_of(&format!("source-{number}"), registered).await;
    }
    world.zoho.script_for(REFRESH_TOKEN, Script::until_cleared(Reply::Swallow));
    world.credential("hanging", "hanging", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a POST");
    world.zoho.set_latency(Duration::from_secs(2));
    // While it hangs, which is for fifteen seconds.
    let create = async |number| world.credential(&format!("c-{number}"), &format!("source-{number}"), json!({})).await;
    futures::future::join_all((0..many.len()).map(create)).await;
    world.zoho.wait_for_posts(11, Duration::from_secs(60)).await.expect("POSTs");
    let (code, took) = operator.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(25), "{took:?}");
    let posts = world.zoho.stats().token.posts - world.zoho.counts(REFRESH_TOKEN).posts;
    let mut stored = 0;
    for number in 0..30 {
        stored += u64::from(world.token(&format!("c-{number}-token")).await.is_some());
    }
    assert_eq!(stored, posts, "all but the one that hangs");
    assert!(stored >= 10, "{stored}");
}

#[tokio::test]
async fn two_operators_on_one_credential_spend_at_most_one_needless_mint() {
    let world = World::new("two_operators").await;
    world.good_source("source").await;
    let (_first, _second) = (world.operator(), world.operator());
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    for round in 1..=3 {
        let expires = world.get("one").await.status.and_then(|status| status.expiration_time);
        world.advance(2200);
        world
            .wait("one", "renewed", |seen| {
                is_ready(seen) && seen.status.as_ref().and_then(|status| status.expiration_time) > expires
            })
            .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stats = world.zoho.stats().token;
        assert!(stats.posts <= 2 * (round + 1), "{stats:?}");
        assert_eq!((stats.evictions, stats.throttled), (0, 0));
    }
}

#[tokio::test]
async fn lost_ledger_costs_a_silence_and_no_eviction() {
    let world = World::new("lost_ledger").await;
    let operator = world.operator();
    world.serve_one().await;
    let token = world.token("one-token").await;
    let ledger = world.get("one").await.status.and_then(|status| status.ledger).expect("a ledger");
    operator.kill();
    world.ledgers().delete(ledger.as_str(), &DeleteParams::default()).await.expect("deleted");
    world.advance(2200);
    let _operator = world.operator();
    let seen = world.wait_for_reason("one", "MintBudgetExhausted").await;
    assert!(is_ready(&seen), "the token goes on working meanwhile");
    assert_eq!(world.token("one-token").await, token);
    assert_eq!(world.zoho.stats().token.posts, 1);
    world.advance(601);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn what_is_presumed_of_a_lost_ledger_counts_from_when_that_is_noticed() {
    let world = World::new("noticed_ledger").await;
    let operator = world.operator();
    world.serve_one().await;
    let ledger = world.get("one").await.status.and_then(|status| status.ledger).expect("a ledger");
    world.ledgers().delete(ledger.as_str(), &DeleteParams::default()).await.expect("deleted");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let kept = world.ledgers().get_opt(ledger.as_str()).await.expect("an answer");
        if kept.is_some_and(|kept| kept.spec.presumed_full_at.is_some()) {
            break;
        }
        assert!(Instant::now() < deadline, "the presumption is not written down: {}", operator.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 1, "nothing is minted for it");
    operator.kill();
    world.advance(2200);
    let _operator = world.operator();
    world.wait("one", "renewed without a silence", |_| world.zoho.stats().token.posts == 2).await;
}
