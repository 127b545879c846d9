//! The wall clock is set back, a record comes from a clock that was ahead, and lives are not all an hour.

use std::time::{Duration, Instant};

use serde_json::json;
use zoho_api::ConditionType;
use zoho_simulator::script::Reply;

use crate::support::look::{is, is_ready};
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, tell};

/// Sets the operators' clock back; Zoho's goes on.
fn set_back(world: &World, seconds: i64) {
    world.advance_beside(-seconds, seconds);
}

#[tokio::test]
async fn clock_set_back_costs_one_mint_and_no_expired_token() {
    // Most of it is waiting, so both at once.
    tokio::join!(set_back_by(600), set_back_by(3600));
}

async fn set_back_by(back: i64) {
    let (world, _operator) = World::served(&format!("set_back_{back}")).await;
    let observer = world.observer();
    set_back(&world, back);
    let started = Instant::now();
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("it is renewed, since its expiry says little");
    world
        .wait("one", "the new token is stored", |seen| {
            seen.status
                .as_ref()
                .and_then(|status| status.last_mint_time)
                .is_some_and(|at| at.unix() < now_of(&world) + 60)
        })
        .await;
    tell(&format!("clock set back by {back} s: renewed after {:.1} s", started.elapsed().as_secs_f32()));
    let seen = world.wait_ready("one").await;
    assert!(is_ready(&seen));
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(world.zoho.stats().token.posts, 2, "one mint");
    // Zoho's hour goes by, the operator's clock with it.
    for _ in 0..8 {
        world.advance_beside(450, back);
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(observer.expired_token_time(), Duration::ZERO, "set back by {back} s");
    assert_eq!(world.zoho.stats().token.evictions, 0);
}

fn now_of(world: &World) -> i64 {
    let offset = std::fs::read_to_string(world.clock()).ok().and_then(|text| text.trim().parse::<i64>().ok());
    zoho_client::clock::system().now().unix() + offset.unwrap_or_default()
}

#[tokio::test]
async fn refusal_of_the_future_is_tried_again_when_the_clock_is_set_back() {
    let world = World::new("refusal_of_the_future").await;
    world.advance(3600);
    let _operator = world.operator();
    world.good_source("source").await;
    world.zoho.script_for(REFRESH_TOKEN, zoho_simulator::script::Script::once(Reply::Reset));
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a POST");
    world.wait("one", "reported", |seen| is(seen, ConditionType::Renewable, "UpstreamUnavailable")).await;
    world.advance(-3600);
    // The attempt counts as made now, so its back-off of a minute begins anew, and is not an hour longer.
    world
        .wait("one", "tried again within a minute", |seen| {
            let next = seen.status.as_ref().and_then(|status| status.next_attempt_time);
            next.is_some_and(|next| next.unix() <= now_of(&world) + 61)
        })
        .await;
    world.advance(65);
    world.wait_ready("one").await;
}

#[tokio::test]
async fn throttle_of_a_clock_that_was_ahead_ends_once() {
    let world = World::new("throttle_from_ahead").await;
    world.good_source("source").await;
    world.zoho.script_for(REFRESH_TOKEN, zoho_simulator::script::Script::once(Reply::Throttle));
    let ahead = world.operator_ahead(&[], 8 * 3600);
    world.credential("one", "source", json!({})).await;
    world.wait_for_reason("one", "Throttled").await;
    ahead.kill();
    let _operator = world.operator();
    let longest = now_of(&world) + 3700;
    world
        .wait("one", "an hour is believed", |seen| {
            seen.status.as_ref().and_then(|status| status.throttled_until).is_some_and(|until| until.unix() < longest)
        })
        .await;
    // An hour is the longest silence that is believed; it counts from when it was first seen.
    for _ in 0..3 {
        world.advance(1210);
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn ledger_from_the_future_takes_no_living_token_away() {
    let world = World::new("ledger_from_the_future").await;
    world.good_source("source").await;
    let ahead = world.operator_ahead(&[], 3600);
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    ahead.kill();
    let _operator = world.operator();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(15) {
        let seen = world.get("one").await;
        assert!(is_ready(&seen), "after {:?}: {:#?}", started.elapsed(), seen.status);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(world.zoho.stats().token.posts <= 2, "at most one mint");
}

#[tokio::test]
async fn token_that_lives_shorter_than_the_one_before_is_minted_once_and_stored() {
    let (world, _operator) = World::served("shorter_life").await;
    let first = world.token("one-token").await.expect("a token");
    assert!(world.zoho.set_token_life_of(REFRESH_TOKEN, Duration::from_secs(600)));
    world.advance(2200);
    let second = eventually("the shorter token is stored", async || {
        let token = world.token("one-token").await?;
        (token != first).then_some(token)
    })
    .await;
    assert!(world.zoho.is_alive(&second));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.zoho.stats().token.posts, 2, "one mint");
    world.advance(400);
    eventually("and renewed in its turn", async || {
        let token = world.token("one-token").await?;
        (token != second && world.zoho.is_alive(&token)).then_some(())
    })
    .await;
    assert_eq!(world.zoho.stats().token.posts, 3);
}
