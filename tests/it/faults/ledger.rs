//! The ledger's writes are refused, lost, repeated on their way, or answered too late.

use std::time::{Duration, Instant};

use kube::api::ListParams;
use serde_json::json;
use zoho_api::{ConditionStatus, ConditionType, Outcome, ZohoMintLedgerSpec, keys};
use zoho_simulator::script::{Reply, Script};
use zoho_testkit::fault_proxy::{Action, Answer, FaultProxy, Match, Point, Record, Verb, Window};

use super::{behind_a_proxy, count};
use crate::support::look::condition;
use crate::support::operator::Operator;
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, was_at_once};

/// An hour's silence at most follows a throttle, ten minutes at least; a failure's back-off is over long before.
const AFTER_BACK_OFF: i64 = 130;
/// More than are tried in a row.
const MANY: usize = 6;

fn writes(verb: Verb) -> Match {
    Match::new(verb, "zohomintledgers")
}

async fn with_a_source(test: &str) -> (World, FaultProxy, Operator) {
    let (world, proxy, operator) = behind_a_proxy(test).await;
    world.good_source("source").await;
    (world, proxy, operator)
}

async fn ledger(world: &World) -> ZohoMintLedgerSpec {
    let ledgers = world.ledgers().list(&ListParams::default()).await.expect("listed").items;
    ledgers.into_iter().next().map(|ledger| ledger.spec).unwrap_or_default()
}

#[tokio::test]
async fn reservation_older_than_ten_seconds_is_never_spent() {
    let (world, proxy, operator) = with_a_source("old_reservation").await;
    let mut written = proxy.breakpoint(writes(Verb::Create), Window::ONCE, Point::Applied);
    world.credential("one", "source", json!({})).await;
    let reply = written.reached().await.expect("a reservation");
    operator.signal("STOP");
    reply.go_on();
    let reserved = ledger(&world).await.attempts.into_iter().next().expect("the entry is there").id;
    // This is what it is about: the reservation grows old.
    tokio::time::sleep(Duration::from_secs(11)).await;
    operator.signal("CONT");
    world.wait_ready("one").await;
    let target = world.secret("one-token").await.expect("a target");
    let spent = target.metadata.annotations.and_then(|mut all| all.remove(keys::ATTEMPT)).expect("an attempt");
    assert_ne!(spent, reserved.as_str(), "the token was asked for under another entry\n{}", proxy.transcript());
    let attempts = ledger(&world).await.attempts;
    let outcome = attempts.iter().find(|attempt| attempt.id == reserved).map(|attempt| attempt.outcome);
    assert_eq!(outcome, Some(Some(Outcome::NotSent)), "{attempts:#?}");
    assert_eq!((attempts.len(), world.zoho.stats().token.posts), (2, 1));
}

#[tokio::test]
async fn throttle_whose_write_is_refused_is_written_all_the_same_and_at_once() {
    for (name, times, refusal) in [
        ("conflict", 1, Answer::conflict()),
        ("conflicts", 3, Answer::conflict()),
        ("error", 1, Answer::internal_error()),
        ("errors", 3, Answer::internal_error()),
    ] {
        let (world, proxy, operator) = with_a_source(&format!("throttle_{name}")).await;
        world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::Throttle));
        proxy.rule(writes(Verb::Update), Window::times(times), Action::Answer(refusal));
        // A pass that fails is repeated after a pause, which does not end while the clock stands still.
        world.stop_clock();
        world.credential("one", "source", json!({})).await;
        world.wait_for_reason("one", "Throttled").await;
        eventually("it stands in the ledger", async || ledger(&world).await.throttled_until).await;
        let is_try = |record: &&Record| record.call.verb == Verb::Update && record.call.resource == "zohomintledgers";
        let tries = proxy.trace().iter().filter(is_try).count();
        assert_eq!(tries, times + 1, "{name}: no pause between\n{}", proxy.transcript());
        // So the next process knows it.
        operator.kill();
        let next = world.operator_behind(&proxy, &[]);
        world.advance(AFTER_BACK_OFF);
        next.synced().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.zoho.stats().token.posts, 1, "{name}: no request into the silence");
    }
}

#[tokio::test]
async fn throttle_that_cannot_be_written_counts_at_once_and_is_written_later() {
    let (world, proxy, _operator) = with_a_source("throttle_unwritten").await;
    world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::Throttle));
    let refused = proxy.rule(writes(Verb::Update), Window::ALWAYS, Action::Answer(Answer::internal_error()));
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a POST");
    eventually("it was tried to write it down", async || (proxy.seen(refused) >= 2).then_some(())).await;
    // Long after any back-off, the ledger can be written again: what was learnt is written first.
    world.advance(AFTER_BACK_OFF);
    tokio::time::sleep(Duration::from_secs(4)).await;
    proxy.remove(refused);
    eventually("it stands in the ledger", async || ledger(&world).await.throttled_until).await;
    world.wait_for_reason("one", "Throttled").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.zoho.stats().token.posts, 1, "no request into the silence\n{}", proxy.transcript());
    world.advance(700);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn wrong_password_is_not_sent_again_though_the_verdict_cannot_be_written() {
    for (name, times) in [("once", 1), ("many", MANY)] {
        let world = World::new(&format!("verdict_{name}")).await;
        let proxy = world.proxy();
        world.zoho.with(|zoho, _| zoho.server_mut().register(None, "api", "canary0right0password", None));
        world.confide("canary0wrong0password");
        let refused = Action::Answer(Answer::internal_error());
        let refused = proxy.rule(writes(Verb::Update), Window::times(times), refused);
        let operator = world.operator_behind(&proxy, &["--endpoint-central-url", &world.zoho.url()]);
        operator.synced().await;
        world.source("login", &[("username", "api"), ("password", "canary0wrong0password")]).await;
        let spec = json!({ "dataCenter": null, "endpointCentralServer": { "url": world.zoho.url() } });
        world.credential("one", "login", spec).await;
        let stalled = |seen: &_| condition(seen, ConditionType::Stalled) == Some(ConditionStatus::True);
        world.wait("one", "Stalled at the first answer", stalled).await;
        world.advance(AFTER_BACK_OFF);
        // A touch makes it look again, at the object and at what it has learnt.
        world.patch("one", json!({ "spec": { "target": { "labels": { "a": "b" } } } })).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let logins = || world.zoho.with(|zoho, _| zoho.server().counts().logins);
        assert_eq!(logins(), 1, "{name}\n{}", proxy.transcript());
        proxy.remove(refused);
        if times == 1 {
            eventually("it stands in the ledger", async || (!ledger(&world).await.verdicts.is_empty()).then_some(()))
                .await;
        }
        world.advance(7 * 3600);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(logins(), 1, "{name}: wrong passwords lock accounts");
    }
}

#[tokio::test]
async fn ledger_that_cannot_be_created_is_a_reason_a_pause_and_heals() {
    const WATCHED: Duration = Duration::from_secs(20);
    let (world, proxy, _operator) = with_a_source("ledger_not_found").await;
    let gone = proxy.rule(writes(Verb::Create), Window::ALWAYS, Action::Answer(Answer::not_found()));
    let started = Instant::now();
    world.credential("one", "source", json!({})).await;
    world.wait_for_reason("one", "WriteRefused").await;
    was_at_once(started);
    let before = proxy.trace().len();
    tokio::time::sleep(WATCHED).await;
    let (creates, calls) = (count(&proxy, Verb::Create, "zohomintledgers"), proxy.trace().len() - before);
    assert!(creates <= 6 && calls <= 40, "{creates} tries, {calls} calls in {WATCHED:?}\n{}", proxy.transcript());
    assert_eq!(world.zoho.stats().token.posts, 0, "no entry, no request");
    proxy.remove(gone);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn ledger_write_that_is_repeated_on_its_way_is_known_for_our_own() {
    let (world, proxy, _operator) = with_a_source("repeated").await;
    for (renewal, verb, answer) in [(0, Verb::Create, Answer::already_exists()), (1, Verb::Update, Answer::conflict())]
    {
        proxy.rule(writes(verb), Window::ONCE, Action::AnswerApplied(answer));
        let started = Instant::now();
        if renewal == 0 {
            world.credential("one", "source", json!({})).await;
        } else {
            world.advance(2200);
        }
        world.zoho.wait_for_posts(renewal + 1, Duration::from_secs(60)).await.expect("a POST");
        world.wait("one", "its token is stored", |seen| seen.status.is_some()).await;
        let took = started.elapsed();
        // Three seconds until a moved clock is noticed; the thirty of an entry that is not known would show.
        assert!(took < Duration::from_secs(20), "{verb}: {took:?}\n{}", proxy.transcript());
        eventually("one token and one entry for each request", async || {
            let token = world.token("one-token").await?;
            (world.zoho.live_tokens(REFRESH_TOKEN).last() == Some(&token)).then_some(())
        })
        .await;
        let posts = world.zoho.stats().token.posts;
        let attempts = u64::try_from(ledger(&world).await.attempts.len()).expect("few");
        assert_eq!((posts, attempts), (renewal + 1, renewal + 1), "{verb}\n{}", proxy.transcript());
    }
}
