//! Somebody was quicker, or something on the way did it twice: creations that exist already, updates that meet conflicts.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::json;
use zoho_testkit::fault_proxy::{Action, Answer, Match, Point, Record, Verb, Window};

use super::behind_a_proxy;
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, was_at_once};

/// Real writes of targets in a world's namespace.
fn targets(world: &World, verb: Verb) -> Match {
    Match::new(verb, "secrets").namespace(&world.namespace).dry_run(false)
}

/// The newest token that lives is in the target.
async fn newest_is_stored(world: &World) {
    eventually("the newest token is stored", async || {
        let token = world.token("one-token").await?;
        (world.zoho.live_tokens(REFRESH_TOKEN).last() == Some(&token)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn secret_that_appears_between_the_look_and_the_write_keeps_its_bytes() {
    for name in ["reserved", "minted"] {
        let (world, proxy, _operator) = behind_a_proxy(&format!("appears_{name}")).await;
        world.good_source("source").await;
        let on = match name {
            "reserved" => Match::new(Verb::Create, "zohomintledgers"),
            _ => targets(&world, Verb::Create),
        };
        let mut point = proxy.breakpoint(on, Window::ONCE, Point::Arrived);
        world.credential("one", "source", json!({})).await;
        let stopped = point.reached().await.expect("it comes to that write");
        let theirs = json!({ "metadata": { "name": "one-token" }, "stringData": { "mine": "yes" } });
        let theirs: Secret = serde_json::from_value(theirs).expect("a Secret");
        let theirs = world.secrets().create(&PostParams::default(), &theirs).await.expect("created");
        stopped.go_on();
        world.wait_for_reason("one", "TargetNotOwned").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(world.secret("one-token").await, Some(theirs), "{name}\n{}", proxy.transcript());
        let is_attack = |record: &Record| {
            record.call.resource == "secrets" && [Verb::Patch, Verb::Update, Verb::Delete].contains(&record.call.verb)
        };
        // The admission policy of the chart would refuse it, too.
        assert!(!proxy.trace().iter().any(is_attack), "{name}: it is not even tried\n{}", proxy.transcript());
        assert!(world.zoho.stats().token.posts <= 1, "{name}: what was under way, and no more");
        world.delete_secret("one-token").await;
        world.wait_ready("one").await;
        assert_eq!(world.zoho.stats().token.posts, 1, "{name}: the token at hand is stored");
    }
}

#[tokio::test]
async fn target_whose_write_is_repeated_on_its_way_is_known_for_our_own() {
    let (world, proxy, _operator) = behind_a_proxy("repeated_target").await;
    world.good_source("source").await;
    proxy.rule(targets(&world, Verb::Create), Window::ONCE, Action::AnswerApplied(Answer::already_exists()));
    let started = Instant::now();
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    newest_is_stored(&world).await;
    was_at_once(started);
    proxy.rule(targets(&world, Verb::Patch), Window::ONCE, Action::AnswerApplied(Answer::conflict()));
    world.advance(2200);
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("the renewal");
    let minted = Instant::now();
    newest_is_stored(&world).await;
    was_at_once(minted);
    world.wait_ready("one").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.zoho.stats().token.posts, 2, "{}", proxy.transcript());
}

#[tokio::test]
async fn conflicts_at_two_writes_in_three_cost_no_mint_and_keep_no_token_out() {
    let (world, proxy, _operator) = behind_a_proxy("conflicts").await;
    world.serve_one().await;
    for on in [Match::new(Verb::Update, "zohomintledgers"), targets(&world, Verb::Patch)] {
        for after in (0..30).step_by(3) {
            let window = Window { after, times: Some(2) };
            proxy.rule(on.clone(), window, Action::Answer(Answer::conflict()));
        }
    }
    for renewal in 2..=3 {
        world.advance(2200);
        world.zoho.wait_for_posts(renewal, Duration::from_secs(60)).await.expect("a renewal");
        let minted = Instant::now();
        newest_is_stored(&world).await;
        was_at_once(minted);
        world.wait_ready("one").await;
        assert_eq!(world.zoho.stats().token.posts, renewal);
    }
}
