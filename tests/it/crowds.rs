//! Hundreds and thousands of valid credentials, and something that happens to all of them at once.

use std::time::{Duration, Instant};

use kube::api::ListParams;
use zoho_api::{ConditionType, ZohoCredential};

use crate::support::look::{is, is_ready};
use crate::support::operator::Operator;
use crate::support::world::World;
use crate::support::{DEADLINE, tell};

/// A world with so many credentials, each with a refresh token of its own; nobody serves them yet.
async fn crowd(test: &str, count: usize) -> World {
    let world = World::new(test).await;
    world.create_many(&world.zoho.register_many("crowd", count)).await;
    world
}

/// How long it takes until each has a token that was not due before now.
async fn all_valid(world: &World, count: usize, within: Duration) -> Duration {
    let started = Instant::now();
    loop {
        let now = world.zoho.now().as_second();
        let all = world.credentials().list(&ListParams::default()).await.expect("listed").items;
        let is_valid = |one: &&ZohoCredential| {
            let renewal = one.status.as_ref().and_then(|status| status.renewal_time);
            is_ready(one)
                && is(one, ConditionType::Renewable, "TokenValid")
                && renewal.is_some_and(|renewal| renewal.unix() > now)
        };
        let valid = all.iter().filter(is_valid).count();
        if valid == count {
            return started.elapsed();
        }
        assert!(started.elapsed() < within, "{valid} of {count} are valid after {within:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Quiet, since two thousand objects have much to say.
fn operator(world: &World, args: &[&str]) -> Operator {
    world.operator_with(&[&["--log-filter", "info"], args].concat())
}

/// The operator's writes in a world, but for Events and leases.
fn writes(world: &World) -> usize {
    world.writes().iter().filter(|write| !["events", "leases"].contains(&write.resource.as_str())).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make test-long"]
async fn five_hundred_that_slept_for_eight_hours_are_valid_within_a_minute() {
    const COUNT: usize = 500;
    let world = crowd("slept", COUNT).await;
    let _operator = operator(&world, &[]);
    all_valid(&world, COUNT, DEADLINE).await;
    assert_eq!(world.zoho.stats().token.posts, COUNT as u64);
    // The wall clock moves, timers do not: so a machine looks that was suspended.
    world.advance(8 * 3600);
    let took = all_valid(&world, COUNT, Duration::from_mins(1)).await;
    tell(&format!("{COUNT} credentials after eight hours of sleep: all valid after {:.1} s", took.as_secs_f32()));
    let counts = world.zoho.stats().token;
    assert_eq!((counts.posts, counts.evictions, counts.throttled), (2 * COUNT as u64, 0, 0));
    // An hour back, as a time server may set it: one mint each at most.
    world.advance(-3600);
    all_valid(&world, COUNT, DEADLINE).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let counts = world.zoho.stats().token;
    assert!(counts.posts <= 3 * COUNT as u64, "{counts:?}");
    assert_eq!((counts.evictions, counts.throttled), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make test-long"]
async fn both_replicas_are_replaced_beside_two_thousand_without_a_mint_and_without_a_write() {
    const COUNT: usize = 2000;
    let world = crowd("two_thousand", COUNT).await;
    let first = operator(&world, &["--leader-elect"]);
    first.leading().await;
    let second = operator(&world, &["--leader-elect"]);
    second.synced().await;
    all_valid(&world, COUNT, 5 * DEADLINE).await;
    assert_eq!(world.zoho.stats().token.posts, COUNT as u64);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = writes(&world);
    let started = Instant::now();
    // As a Deployment does: a new one comes, an old one goes.
    let third = operator(&world, &["--leader-elect"]);
    third.synced().await;
    assert_eq!(second.terminate().await.0, Some(0));
    let fourth = operator(&world, &["--leader-elect"]);
    fourth.synced().await;
    assert_eq!(first.terminate().await.0, Some(0));
    while !(third.leads() || fourth.leads()) {
        assert!(started.elapsed() < DEADLINE, "nobody leads");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A pass over each object, and then some.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(writes(&world) - before, 0, "a rollout writes nothing");
    assert_eq!(world.zoho.stats().token.posts, COUNT as u64);
    let leader = if third.leads() { &third } else { &fourth };
    if let Some(peak) = leader.memory("VmHWM:") {
        tell(&format!("{COUNT} credentials: the new leader took {peak:.1} MiB at most"));
    }
}
