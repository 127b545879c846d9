//! Does the product take the token? Asked at intervals, and a token that was ended early is replaced once.

use std::time::Duration;

use serde_json::{Value, json};
use zoho_api::{ConditionStatus, ConditionType, ZohoCredential};
use zoho_simulator::script::{Reply, Script, Target};
use zoho_simulator::{Simulator, SimulatorConfig};
use zoho_testkit::fault_proxy::{Action, Answer, Match, Verb, Window};

use crate::support::eventually;
use crate::support::look::{condition, is, is_ready, message};
use crate::support::operator::Operator;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};

fn operator(world: &World) -> Operator {
    world.operator_with(&["--api-url", &format!("PatchManagerPlus:US={}", world.zoho.url())])
}

fn verified_spec() -> Value {
    json!({ "product": "PatchManagerPlus", "verify": { "interval": "5m" } })
}

async fn served(test: &str) -> (World, Operator) {
    let world = World::new(test).await;
    let operator = operator(&world);
    world.good_source("source").await;
    world.credential("one", "source", verified_spec()).await;
    world.wait_ready("one").await;
    (world, operator)
}

async fn wait_for(world: &World, status: ConditionStatus, reason: &str) -> ZohoCredential {
    let is_so = |seen: &ZohoCredential| {
        condition(seen, ConditionType::Verified) == Some(status) && is(seen, ConditionType::Verified, reason)
    };
    world.wait("one", &format!("Verified {status:?} {reason}"), is_so).await
}

#[tokio::test]
async fn product_that_takes_the_token_is_asked_at_intervals_and_not_anew_after_a_restart() {
    let (world, operator) = served("verified").await;
    let seen = wait_for(&world, ConditionStatus::True, "TokenValid").await;
    assert!(message(&seen, ConditionType::Verified).contains("/api/1.4/patch/summary"));
    assert_eq!(world.zoho.stats().product_ok, 1);
    let version = world.get("one").await.metadata.resource_version;
    world.advance(301);
    eventually("it is asked again", async || (world.zoho.stats().product_ok == 2).then_some(())).await;
    assert_eq!(world.get("one").await.metadata.resource_version, version, "the same answer causes no write");

    operator.kill();
    let restarted = self::operator(&world);
    restarted.synced().await;
    // The interval counts from its first pass.
    world.caught_up().await;
    world.advance(301);
    eventually("it is asked again", async || (world.zoho.stats().product_ok == 3).then_some(())).await;
    assert_eq!(world.get("one").await.metadata.resource_version, version, "a restart says nothing new");
    let stats = world.zoho.stats();
    assert_eq!((stats.token.posts, stats.product_refused), (1, 0));
}

#[tokio::test]
async fn question_is_asked_once_a_target_that_could_not_be_read_can_be_read_again() {
    let (world, operator) = served("refused_read").await;
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    operator.kill();
    let proxy = world.proxy();
    let product = format!("PatchManagerPlus:US={}", world.zoho.url());
    let restarted = world.operator_behind(&proxy, &["--api-url", &product]);
    restarted.synced().await;
    world.caught_up().await;
    // It has no token in memory, and reads the target for nothing else.
    let read = Match::new(Verb::Get, "secrets").name("one-token");
    let refused = proxy.rule(read, Window::ONCE, Action::Answer(Answer::forbidden()));
    world.advance(301);
    eventually("the read is refused", async || (proxy.seen(refused) > 0).then_some(())).await;
    assert_eq!(world.zoho.stats().product_ok, 1);
    world.advance(31);
    eventually("it is asked", async || (world.zoho.stats().product_ok == 2).then_some(())).await;
}

#[tokio::test]
async fn token_that_was_ended_early_is_replaced_by_one_mint() {
    let (world, _operator) = served("ended_early").await;
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    let token = world.token("one-token").await.expect("a token");
    world.advance(10);
    assert!(world.zoho.revoke_access_token(&token));
    world.advance(301);
    eventually("another token", async || (world.token("one-token").await? != token).then_some(())).await;
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
    assert!(world.zoho.is_alive(&world.token("one-token").await.expect("a token")));
}

#[tokio::test]
async fn revoked_refresh_token_is_noticed_between_renewals() {
    let (world, _operator) = served("noticed").await;
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    world.advance(10);
    assert!(world.zoho.revoke(REFRESH_TOKEN));
    world.advance(301);
    world.wait_for_reason("one", "RefreshTokenRejected").await;
    wait_for(&world, ConditionStatus::False, "VerificationRejected").await;
}

#[tokio::test]
async fn token_that_the_product_never_took_costs_no_mint() {
    let world = World::new("never_taken").await;
    let refusal = r#"{"status":"error","error_code":"10002"}"#;
    world.zoho.script(Target::Product, Script::until_cleared(Reply::json(401, refusal)));
    let _operator = operator(&world);
    world.good_source("source").await;
    world.credential("one", "source", verified_spec()).await;
    let seen = wait_for(&world, ConditionStatus::False, "VerificationRejected").await;
    let says = message(&seen, ConditionType::Verified);
    assert!(says.contains("PatchManagerPlusCloud.PatchMgmt.READ") && says.contains("spec.verify.path"), "{says}");
    world.wait("one", "Ready all the same", is_ready).await;
    for _ in 0..3 {
        world.advance(301);
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 1);
    world.zoho.clear_scripts();
    world.advance(301);
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn product_that_flaps_costs_one_mint_an_episode() {
    let (world, _operator) = served("flaps").await;
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    world.advance(10);
    world.zoho.script(Target::Product, Script::until_cleared(Reply::json(401, "{}")));
    world.advance(301);
    eventually("one mint", async || (world.zoho.stats().token.posts == 2).then_some(())).await;
    for _ in 0..3 {
        world.advance(301);
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 2, "the new token was never taken");
    wait_for(&world, ConditionStatus::False, "VerificationRejected").await;
}

#[tokio::test]
async fn answers_that_say_nothing_of_the_token_cause_no_mint() {
    let (world, _operator) = served("says_nothing").await;
    // So often that all of it fits before the renewal.
    world.patch("one", json!({ "spec": { "verify": { "interval": "1m" } } })).await;
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    let rows = [
        (Reply::html(503, "<h1>down</h1>"), "UpstreamUnavailable"),
        (Reply::html(200, "<html>login</html>"), "UpstreamReplyInvalid"),
        (Reply::Redirect { code: 302, location: "http://127.0.0.1:1/".into() }, "UpstreamRedirect"),
        (Reply::json(404, "{}"), "UpstreamError"),
    ];
    for (reply, reason) in rows {
        world.zoho.script(Target::Product, reply);
        world.advance(61);
        wait_for(&world, ConditionStatus::Unknown, reason).await;
    }
    world.advance(61);
    let seen = wait_for(&world, ConditionStatus::True, "TokenValid").await;
    assert!(is_ready(&seen));
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn token_of_a_former_source_is_not_shown_for_the_new_one() {
    let (world, _operator) = served("former_source").await;
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    let shown = world.zoho.stats().product_ok;
    let pairs = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", "1000.never.issued")];
    world.source("another", &pairs).await;
    let question = json!({ "path": "/api/1.4/patch/another", "interval": "5m" });
    world.patch("one", json!({ "spec": { "secretRef": { "name": "another" }, "verify": question } })).await;
    world.wait_for_reason("one", "RefreshTokenRejected").await;
    let seen = wait_for(&world, ConditionStatus::Unknown, "Minting").await;
    assert!(is_ready(&seen), "the former token is still there");
    world.advance(301);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let stats = world.zoho.stats();
    assert_eq!((stats.product_ok, stats.product_refused, stats.strays), (shown, 0, 0));
}

#[tokio::test]
async fn token_is_shown_on_an_own_domain_only_where_the_operator_allows_it() {
    let world = World::new("own_domain").await;
    let desk = Simulator::start(SimulatorConfig { tls_names: vec!["127.0.0.1".into()], ..SimulatorConfig::default() });
    desk.register(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN);
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, desk.ca_pem().expect("PEM")).expect("written");
    let ca_file = ca_file.to_str().expect("UTF-8");
    let accounts_url = format!("US={}", desk.url());
    let args = ["--accounts-url", &accounts_url, "--ca-file", ca_file];
    let operator = world.operator_with(&args);
    world.good_source("source").await;
    let spec = json!({ "product": "ServiceDeskPlus", "apiUrl": desk.url(), "verify": { "interval": "5m" } });
    world.credential("one", "source", spec).await;
    let seen = wait_for(&world, ConditionStatus::Unknown, "InvalidSpec").await;
    let says = message(&seen, ConditionType::Verified);
    assert!(says.contains(&format!("--api-host {}", desk.address())), "{says}");
    world.wait_ready("one").await;
    assert_eq!((desk.stats().product_ok, desk.stats().product_refused), (0, 0), "the token went nowhere");

    operator.kill();
    let host = desk.address().to_string();
    let _operator = world.operator_with(&[&args[..], &["--api-host", &host]].concat());
    wait_for(&world, ConditionStatus::True, "TokenValid").await;
    desk.log().into_iter().filter_map(|record| record.access_token).for_each(|token| world.confide(&token));
}
