//! What a person changes while a request is under way, in two steps, or wrongly and back again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zoho_api::{ConditionStatus, ConditionType};
use zoho_simulator::Credential;
use zoho_simulator::script::{Reply, Script};

use crate::support::look::{condition, text};
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};
use crate::support::{eventually, tell, was_at_once};

fn other(world: &World) -> Credential {
    world.zoho.register_many("other", 1).remove(0)
}

#[tokio::test]
async fn source_that_changes_during_a_mint_gets_no_token_of_the_former_inputs() {
    let world = World::new("changes_in_flight").await;
    let _operator = world.operator();
    let other = other(&world);
    world.good_source("source").await;
    world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::MintThenHold));
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a request");
    world.source_of("source", &other).await;
    world.caught_up().await;
    world.zoho.release();
    let started = Instant::now();
    let is_of_the_new_source = eventually("a target", async || {
        let token = world.token("one-token").await?;
        Some(world.zoho.live_tokens(&other.refresh_token).contains(&token))
    })
    .await;
    assert!(is_of_the_new_source, "the first token that is stored is of the source as it is");
    tell(&format!("changed during a mint: stored {:.1} s after the answer", started.elapsed().as_secs_f32()));
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2, "one for each");
}

#[tokio::test]
async fn target_that_is_renamed_during_a_mint_is_made_under_its_new_name_only() {
    let world = World::new("renamed_in_flight").await;
    let _operator = world.operator();
    world.good_source("source").await;
    world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::MintThenHold));
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a request");
    world.patch("one", json!({ "spec": { "target": { "name": "renamed" } } })).await;
    // One watch tells of both, in their order. The operator waits for the answer for fifteen seconds only.
    world.credential("later", "missing", json!({})).await;
    world.wait_for_reason("later", "SourceSecretNotFound").await;
    world.zoho.release();
    world.wait_ready("one").await;
    assert!(world.secret("renamed").await.is_some() && world.secret("one-token").await.is_none());
    assert_eq!(world.zoho.stats().token.posts, 1, "the token that was asked for is the one that is stored");
}

#[tokio::test]
async fn token_is_presented_for_its_own_data_center_until_there_is_one_of_the_next() {
    let world = World::new("data_center").await;
    let elsewhere = format!("EU={}", world.zoho.url().replace("127.0.0.1", "localhost"));
    let _operator = world.operator_with(&["--accounts-url", &elsewhere]);
    world.good_source("source").await;
    world.credential("one", "source", json!({ "product": "PatchManagerPlus" })).await;
    world.wait_ready("one").await;
    let data = async || world.secret("one-token").await.expect("a target").data.expect("data");
    let host = async || text(&world.secret("one-token").await.expect("a target"), "api_url");
    let before = data().await;
    assert_eq!(host().await, "https://patch.manageengine.com");

    world.zoho.script_for(REFRESH_TOKEN, Script::until_cleared(Reply::error("invalid_client")));
    world.patch("one", json!({ "spec": { "dataCenter": "EU", "target": { "labels": { "team": "a" } } } })).await;
    world.wait_for_reason("one", "ClientRejected").await;
    assert_eq!(data().await, before, "a token of US goes to no host of EU");
    world.delete_secret("source").await;
    world.wait_for_reason("one", "SourceSecretNotFound").await;
    assert_eq!(data().await, before, "nor where there is nothing to mint from");

    world.zoho.clear_scripts();
    world.good_source("source").await;
    world.advance(61);
    world.wait_ready("one").await;
    assert_eq!(host().await, "https://patch.manageengine.eu");
    assert_ne!(data().await["access_token"], before["access_token"]);

    let posts = world.zoho.stats().token.posts;
    world.patch("one", json!({ "spec": { "product": "EndpointCentral" } })).await;
    eventually("the host of another product", async || (host().await.contains("endpointcentral")).then_some(())).await;
    assert_eq!(world.zoho.stats().token.posts, posts, "the token is of the same inputs");
}

#[tokio::test]
async fn source_that_is_changed_in_two_steps_costs_one_failed_request_and_is_not_parked() {
    let (world, _operator) = World::served("two_steps").await;
    let other = other(&world);
    // So a pause of any length, as after a failure with the same inputs, would not end.
    world.stop_clock();
    let started = Instant::now();
    let half = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", &*other.refresh_token)];
    world.source("source", &half).await;
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("a request with half of it");
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.source_of("source", &other).await;
    eventually("a token of the whole source", async || {
        let token = world.token("one-token").await?;
        world.zoho.live_tokens(&other.refresh_token).contains(&token).then_some(())
    })
    .await;
    was_at_once(started);
    world.advance(0);
    let seen = world.wait_ready("one").await;
    assert_eq!(condition(&seen, ConditionType::Stalled), None);
    let counts = world.zoho.stats().token;
    assert_eq!((counts.posts, counts.mints), (3, 2), "one of them failed");
}

/// What the API server takes, and the operator cannot serve.
fn bad_specs() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("host", json!({ "accountsHost": "accounts.evil.example" }), "AccountsHostNotAllowed"),
        ("source", json!({ "secretRef": { "name": "nobody" } }), "SourceSecretNotFound"),
        ("product", json!({ "dataCenter": "SG", "product": "PatchManagerPlus" }), "InvalidSpec"),
        ("template", json!({ "target": { "data": { "x": "{{ nothing }}" } } }), "TemplateFailed"),
        ("no-token", json!({ "target": { "includeDefaultKeys": false, "data": { "fixed": "x" } } }), "TemplateFailed"),
        ("taken", json!({ "target": { "name": "taken" } }), "TargetNotOwned"),
        (
            "server",
            json!({ "dataCenter": null, "endpointCentralServer": { "url": "https://ec.evil.example" } }),
            "ServerNotAllowed",
        ),
    ]
}

#[tokio::test]
async fn bad_spec_between_two_good_ones_leaves_the_end_that_the_good_one_has() {
    let world = World::new("bad_between").await;
    let _operator = world.operator();
    world.good_source("source").await;
    world.source("taken", &[("mine", "yes")]).await;
    let chosen = json!({ "labels": { "team": "a" }, "data": { "fixed": "{{ access_token }}" } });
    let good = json!({ "dataCenter": "US", "secretRef": { "name": "source" }, "target": chosen });
    world.credential("direct", "source", good.clone()).await;
    for (name, ..) in bad_specs() {
        world.credential(name, "source", good.clone()).await;
    }
    for (name, ..) in bad_specs() {
        world.wait_ready(name).await;
    }
    for (name, bad, reason) in bad_specs() {
        world.patch(name, json!({ "spec": bad })).await;
        let seen = world.wait_for_reason(name, reason).await;
        // What is in a Secret of somebody else is not its token.
        let is_ready = if name == "taken" { ConditionStatus::False } else { ConditionStatus::True };
        assert_eq!(condition(&seen, ConditionType::Ready), Some(is_ready), "{name}");
    }
    for (name, ..) in bad_specs() {
        let back = json!([{ "op": "replace", "path": "/spec", "value": good }]).to_string();
        let patch = ["patch", "zcred", name, "-n", &world.namespace, "--type=json", "-p", &back];
        assert!(world.cluster.kubectl(&patch).await.expect("kubectl runs").status.success(), "{name}");
    }
    let end = async |name: &str| {
        let seen = world.wait_ready(name).await;
        let target = world.secret(&format!("{name}-token")).await.expect("the target");
        let status = seen.status.expect("a status");
        let conditions: Vec<_> =
            status.conditions.iter().map(|condition| (condition.type_.clone(), condition.reason.clone())).collect();
        (seen.spec, target.data, target.metadata.labels.map(|labels| labels.get("team").cloned()), conditions)
    };
    let direct = end("direct").await;
    for (name, ..) in bad_specs() {
        assert_eq!(end(name).await, direct, "{name}");
    }
    assert_eq!(world.zoho.stats().token.posts, 1, "one token for all of them, all the time");
}

#[tokio::test]
async fn interval_that_becomes_shorter_than_the_age_of_a_token_renews_it_at_once() {
    let world = World::new("shorter_interval").await;
    world.confide("canary0right0password");
    world.zoho.with(|zoho, _| zoho.server_mut().register(None, "api", "canary0right0password", None));
    let _operator = world.operator_with(&["--endpoint-central-url", &world.zoho.url()]);
    world.source("login", &[("username", "api"), ("password", "canary0right0password")]).await;
    let server = json!({ "url": world.zoho.url() });
    let spec = json!({ "dataCenter": null, "endpointCentralServer": server, "renewEvery": "8h" });
    world.credential("one", "login", spec).await;
    world.wait_ready("one").await;
    world.advance(2 * 3600);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let logins = || world.zoho.with(|zoho, _| zoho.server().counts().logins);
    assert_eq!(logins(), 1, "two of eight hours are over");
    world.patch("one", json!({ "spec": { "renewEvery": "1h" } })).await;
    eventually("it is renewed", async || (logins() == 2).then_some(())).await;
    world.wait_ready("one").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(logins(), 2, "once");
}

#[tokio::test]
async fn refresh_tokens_of_a_whole_namespace_are_replaced_at_once() {
    // More than a namespace may bring beside those of its credentials.
    const MANY: usize = 120;
    let world = World::new("rotation").await;
    let registered = world.zoho.register_many("rotation", 2 * MANY);
    let (old, new) = registered.split_at(MANY);
    let _operator = world.operator_with(&["--log-filter", "zoho_operator=info"]);
    world.create_many(old).await;
    for number in 0..MANY {
        world.wait_ready(&format!("c{number}")).await;
    }
    for (number, credential) in new.iter().enumerate() {
        world.source_of(&format!("source-{number}"), credential).await;
    }
    for (number, credential) in new.iter().enumerate() {
        eventually("its target has a token of the new one", async || {
            let token = world.token(&format!("c{number}-token")).await?;
            world.zoho.live_tokens(&credential.refresh_token).contains(&token).then_some(())
        })
        .await;
    }
    assert_eq!(world.zoho.stats().token.posts, 2 * MANY as u64);
}
