//! A renewal that a person asks for is answered by exactly one Event: done, or refused and when it would go.

use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use zoho_api::{ConditionType, ZohoCredential, keys};
use zoho_simulator::script::{Reply, Script};

use crate::support::look::{is, is_ready, message};
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, was_at_once};

/// The answers so far, oldest first, as reason and note; one that was given again as often as it was.
async fn answers(world: &World) -> Vec<String> {
    let events = Api::<Event>::namespaced(world.client.clone(), &world.namespace);
    let mut events = events.list(&ListParams::default()).await.expect("Events can be listed").items;
    events.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
    let answers = events.into_iter().filter_map(|event| {
        let reason = event.reason.filter(|reason| ["Renewed", "RenewalRefused"].contains(&reason.as_str()))?;
        let times = event.series.map_or(1, |series| series.count);
        let text = format!("{reason} {}", event.note.unwrap_or_default());
        Some(std::iter::repeat_n(text, usize::try_from(times).expect("a number")))
    });
    answers.flatten().collect()
}

/// Asks, and waits for as many answers as there must be then; returns the newest that is not among `before`, or the last.
async fn ask(world: &World, request: &str, count: usize) -> String {
    let before = answers(world).await;
    world.patch("one", json!({ "metadata": { "annotations": { (keys::RENEW_REQUESTED): request } } })).await;
    let all = eventually(&format!("{count} answers"), async || {
        let all = answers(world).await;
        (all.len() >= count).then_some(all)
    })
    .await;
    assert_eq!(all.len(), count, "{all:#?}");
    let new = all.iter().rev().find(|answer| !before.contains(answer));
    new.or(all.last()).expect("an answer").clone()
}

/// Long enough for a pass and its Events.
async fn rest() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// The refresh token is revoked, which a request meets, and the refusal confirmed. Returns the answer to the request, and what is
/// parked.
async fn revoked(world: &World) -> (String, ZohoCredential) {
    // A refusal in the second of a mint proves nothing: times are stored in whole ones.
    world.advance(5);
    assert!(world.zoho.revoke(REFRESH_TOKEN));
    let said = ask(world, "first", 1).await;
    world.advance(61);
    (said, world.wait("one", "parked", is_parked).await)
}

fn is_parked(seen: &ZohoCredential) -> bool {
    is(seen, ConditionType::Stalled, "RefreshTokenRejected")
}

#[tokio::test]
async fn request_is_answered_once_and_not_again_after_a_restart() {
    let world = World::new("request_once").await;
    let operator = world.operator_with(&["--max-live-tokens", "3"]);
    operator.synced().await;
    world.serve_one().await;
    rest().await;
    assert_eq!(answers(&world).await, Vec::<String>::new(), "nobody has asked");
    let said = ask(&world, "first", 1).await;
    assert!(said.starts_with("Renewed As requested, Secret "), "{said}");
    assert_eq!(world.zoho.stats().token.posts, 2);
    // So soon that both tokens are of the same second, as far as the status can say.
    let said = ask(&world, "second", 2).await;
    assert!(said.starts_with("Renewed "), "{said}");
    let said = ask(&world, "third", 3).await;
    assert!(
        said.starts_with("RenewalRefused The requested renewal was not done. MintBudgetExhausted: So many tokens"),
        "{said}"
    );
    let next = said.split("It is possible from ").nth(1).expect("the time when it would go");
    assert!(
        next[5..].starts_with(
            "Z on: request it again then. The current token stays valid, and is renewed automatically at "
        ),
        "{said}"
    );
    assert_eq!(world.zoho.stats().token.posts, 3);

    operator.kill();
    let second = world.operator_with(&["--max-live-tokens", "3"]);
    second.synced().await;
    world.patch("one", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    rest().await;
    assert_eq!(answers(&world).await.len(), 3, "what was answered is answered");
    ask(&world, "fourth", 4).await;
}

#[tokio::test]
async fn many_requests_make_few_events() {
    let (world, _operator) = World::served("request_storm").await;
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    world.wait_for_reason("one", "Suspended").await;
    for number in 1..=12 {
        ask(&world, &format!("request {number}"), number).await;
    }
    let events = Api::<Event>::namespaced(world.client.clone(), &world.namespace);
    let events = events.list(&ListParams::default()).await.expect("Events").items;
    let refused = events.iter().filter(|event| event.reason.as_deref() == Some("RenewalRefused")).count();
    assert_eq!(refused, 1, "the same answer is counted, and not made again");
}

#[tokio::test]
async fn throttle_that_meets_a_request_is_its_answer() {
    let (world, _operator) = World::served("request_throttled").await;
    world.zoho.script_for(REFRESH_TOKEN, Reply::Throttle);
    for (number, request) in [(1, "first"), (2, "in the silence")] {
        let said = ask(&world, request, number).await;
        assert!(said.contains("Throttled: Zoho reports too many requests"), "{said}");
        assert!(said.contains("It is possible from "), "{said}");
        assert_eq!(world.zoho.stats().token.posts, 2, "silence, whoever asks");
    }
}

#[tokio::test]
async fn refusal_that_meets_a_request_is_its_answer_and_so_is_one_that_was_known() {
    let (world, _operator) = World::served("request_parked").await;
    let (said, _parked) = revoked(&world).await;
    assert!(said.contains("RefreshTokenRejected: Zoho refused the refresh token (invalid_code)"), "{said}");
    assert!(said.contains("The operator asks once more to confirm this. ") && said.contains("Next try "), "{said}");
    assert_eq!((world.zoho.stats().token.posts, answers(&world).await.len()), (3, 1));
    world.advance(120);
    let said = ask(&world, "second", 2).await;
    assert_eq!(world.zoho.stats().token.posts, 4, "a parked one is tried for it");
    assert!(said.contains("Next try ") && said.ends_with(", or at once when that Secret changes."), "{said}");
}

#[tokio::test]
async fn revoked_token_is_not_called_valid_while_a_request_waits_for_its_turn() {
    let (world, _operator) = World::served("request_waits").await;
    let (_said, parked) = revoked(&world).await;
    assert!(!is_ready(&parked));
    let next = |seen: &ZohoCredential| seen.status.as_ref().and_then(|status| status.next_attempt_time);
    // So soon after the refusal that it has to wait.
    world.patch("one", json!({ "metadata": { "annotations": { (keys::RENEW_REQUESTED): "second" } } })).await;
    let waiting = world.wait("one", "looked at again", |seen| next(seen) < next(&parked)).await;
    assert!(is_parked(&waiting) && !is_ready(&waiting), "{:#?}", waiting.status);
    assert_eq!((world.zoho.stats().token.posts, answers(&world).await.len()), (3, 1));
    world.advance(120);
    eventually("the request is sent", async || (world.zoho.stats().token.posts == 4).then_some(())).await;
    let said = eventually("an answer", async || answers(&world).await.get(1).cloned()).await;
    assert!(said.contains("RefreshTokenRejected"), "{said}");
}

#[tokio::test]
async fn revoked_token_stays_revoked_when_its_source_goes_or_is_another_one() {
    let (world, operator) = World::served("revoked_and_changed").await;
    revoked(&world).await;
    world.delete_secret("source").await;
    assert!(!is_ready(&world.wait_for_reason("one", "SourceSecretNotFound").await));
    operator.kill();
    let _second = world.operator();
    world.caught_up().await;
    assert!(!is_ready(&world.get("one").await), "the next process knows it, too");
    let other = world.zoho.register_many("revoked0and0changed", 1).remove(0);
    world.zoho.script_for(&other.refresh_token, Script::once(Reply::Throttle));
    world.source_of("source", &other).await;
    let waiting = world.wait_for_reason("one", "Throttled").await;
    assert!(!is_ready(&waiting), "{:#?}", waiting.status);
    assert!(!message(&waiting, ConditionType::Renewable).contains("keeps working"), "{:#?}", waiting.status);
    world.advance(700);
    world.wait_ready("one").await;
}

#[tokio::test]
async fn request_that_ends_a_refusal_ends_it_for_all_who_share_it() {
    let (world, _operator) = World::served("request_shared").await;
    world.credential("two", "source", json!({})).await;
    world.wait_ready("two").await;
    world.zoho.script_for(REFRESH_TOKEN, Script::until_cleared(Reply::error("invalid_code")));
    world.advance(2200);
    world.wait_for_reason("two", "RefreshTokenRejected").await;
    world.advance(61);
    for name in ["one", "two"] {
        world.wait(name, "parked", is_parked).await;
    }
    // The attempts of before are forgotten, and with them whose ledger it was.
    world.advance(3 * 3600 + 60);
    world.zoho.clear_scripts();
    world.patch("one", json!({ "metadata": { "annotations": { (keys::RENEW_REQUESTED): "now" } } })).await;
    let started = Instant::now();
    for name in ["one", "two"] {
        world.wait_ready(name).await;
    }
    was_at_once(started);
    assert_eq!(world.token("one-token").await, world.token("two-token").await);
}
