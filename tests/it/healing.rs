//! What somebody changes is put right in seconds, and without minting while the token is known.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use zoho_api::ConditionType;
use zoho_simulator::script::Reply;

use crate::support::look::{is, is_ready, message, text};
use crate::support::world::{CLIENT_ID, REFRESH_TOKEN, World};
use crate::support::{DEADLINE, eventually};

async fn wait_for_token(world: &World, target: &str, token: &str) -> Secret {
    eventually(&format!("{target} holds the token again"), async || {
        let secret = world.secret(target).await?;
        (text(&secret, "access_token") == token && text(&secret, "authorization").ends_with(token)).then_some(secret)
    })
    .await
}

#[tokio::test]
async fn deleted_target_comes_back_with_the_same_token() {
    let (world, _operator) = World::served("deleted_target").await;
    let token = world.token("one-token").await.expect("a token");
    world.delete_secret("one-token").await;
    wait_for_token(&world, "one-token", &token).await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn edited_target_is_put_back_also_by_an_operator_that_never_held_its_token() {
    let (world, operator) = World::served("edited_target").await;
    let token = world.token("one-token").await.expect("a token");
    let edit = json!({ "data": { "authorization": null, "extra": "eA==" },
        "metadata": { "labels": { "zoho-operator.dev/credential-uid": "x", "team": "a" } } });
    let patch = |edit: serde_json::Value| {
        let secrets = world.secrets();
        async move { secrets.patch("one-token", &PatchParams::default(), &Patch::Merge(edit)).await.expect("edited") }
    };
    patch(edit.clone()).await;
    let whole = |secret: &Secret| !secret.data.as_ref().is_some_and(|data| data.contains_key("extra"));
    let secret = wait_for_token(&world, "one-token", &token).await;
    assert!(whole(&secret), "foreign data goes");
    assert_eq!(secret.metadata.labels.as_ref().and_then(|labels| labels.get("team")).map(String::as_str), Some("a"));

    operator.kill();
    patch(edit).await;
    let _second = world.operator();
    assert!(whole(&wait_for_token(&world, "one-token", &token).await));
    assert_eq!(world.zoho.stats().token.posts, 1, "the token was known from the Secret itself");
}

#[tokio::test]
async fn planted_token_is_replaced_and_never_taken_for_ours() {
    let (world, operator) = World::served("planted_token").await;
    operator.kill();
    let planted = json!({ "stringData": { "access_token": "1000.planted.token", "authorization": "Zoho-oauthtoken 1000.planted.token" } });
    world.secrets().patch("one-token", &PatchParams::default(), &Patch::Merge(planted)).await.expect("edited");
    world.advance(120);
    let _second = world.operator();
    eventually("a token that lives", async || {
        let token = world.token("one-token").await?;
        world.zoho.is_alive(&token).then_some(())
    })
    .await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn foreign_metadata_on_the_target_causes_no_write() {
    let (world, _operator) = World::served("foreign_metadata").await;
    let before = world.get("one").await.metadata.resource_version;
    let touch = json!({ "metadata": { "annotations": { "team.example/note": "mine" } } });
    let touched =
        world.secrets().patch("one-token", &PatchParams::default(), &Patch::Merge(touch)).await.expect("touched");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = world.secret("one-token").await.expect("the target");
    assert_eq!(after.metadata.resource_version, touched.metadata.resource_version);
    assert_eq!(world.get("one").await.metadata.resource_version, before);
}

#[tokio::test]
async fn changed_source_is_minted_from_at_once_and_touching_it_is_not() {
    let (world, _operator) = World::served("changed_source").await;
    let first = world.token("one-token").await.expect("a token");
    let touch = json!({ "metadata": { "annotations": { "touched": "yes" } } });
    world.secrets().patch("source", &PatchParams::default(), &Patch::Merge(touch)).await.expect("touched");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.zoho.stats().token.posts, 1);

    world.zoho.register("1000.OTHER", "other0secret0aaaa", "1000.other0refresh.bbbb");
    let pairs = [
        ("client_id", "1000.OTHER"),
        ("client_secret", "other0secret0aaaa"),
        ("refresh_token", "1000.other0refresh.bbbb"),
    ];
    world.source("source", &pairs).await;
    eventually("a token of the new source", async || {
        let token = world.token("one-token").await?;
        (token != first && world.zoho.is_alive(&token)).then_some(())
    })
    .await;
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
    assert!(world.zoho.is_alive(&first), "the old token is left to die by itself");
}

#[tokio::test]
async fn renamed_target_gets_the_living_token_and_the_old_one_goes_when_it_has_expired() {
    let (world, _operator) = World::served("renamed_target").await;
    let token = world.token("one-token").await.expect("a token");
    world.patch("one", json!({ "spec": { "target": { "name": "renamed" } } })).await;
    wait_for_token(&world, "renamed", &token).await;
    world
        .wait("one", "target reported", |seen| {
            seen.status.as_ref().and_then(|status| status.target.as_deref()) == Some("renamed")
        })
        .await;
    assert!(world.secret("one-token").await.is_some(), "pods that mount it go on working");
    assert_eq!(world.zoho.stats().token.posts, 1);
    world.advance(3601);
    eventually("the former target is deleted", async || world.secret("one-token").await.is_none().then_some(())).await;
    assert!(world.secret("renamed").await.is_some());
}

#[tokio::test]
async fn suspended_credential_is_left_as_it_is_and_goes_on_when_resumed() {
    let (world, _operator) = World::served("suspended").await;
    let token = world.token("one-token").await.expect("a token");
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    let seen = world.wait_for_reason("one", "Suspended").await;
    assert!(is_ready(&seen));
    world.advance(2400);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.token("one-token").await.as_deref(), Some(token.as_str()));
    world.advance(1300);
    world.wait("one", "not Ready when the token has died", |seen| !is_ready(seen)).await;
    assert_eq!(world.zoho.stats().token.posts, 1);
    world.patch("one", json!({ "spec": { "suspend": false } })).await;
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn equal_credentials_share_one_mint_however_fast_it_is() {
    let world = World::new("sharing_fast").await;
    world.zoho.set_latency(Duration::ZERO);
    world.good_source("source").await;
    for number in 0..20 {
        world.credential(&format!("c{number}"), "source", json!({})).await;
    }
    // All at once: some look before the mint that others wait for, and come to it after that has landed.
    let _operator = world.operator();
    for number in 0..20 {
        world.wait_ready(&format!("c{number}")).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn equal_credentials_share_one_mint() {
    let world = World::new("sharing").await;
    let _operator = world.operator();
    world.good_source("source").await;
    for number in 0..20 {
        world.credential(&format!("c{number}"), "source", json!({})).await;
    }
    for number in 0..20 {
        world.wait_ready(&format!("c{number}")).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 1);
    let first = world.token("c0-token").await;
    world.advance(2000);
    eventually("all have the next token", async || {
        for number in 0..20 {
            let token = world.token(&format!("c{number}-token")).await;
            if token == first || token != world.token("c19-token").await {
                return None;
            }
        }
        Some(())
    })
    .await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn person_can_ask_for_a_renewal_and_gets_an_answer() {
    let (world, _operator) = World::served("asked").await;
    let first = world.token("one-token").await;
    let ask = |value: &str| json!({ "metadata": { "annotations": { "zoho-operator.dev/renew-requested": value } } });
    let handled = |value: &'static str| {
        move |seen: &zoho_api::ZohoCredential| {
            seen.status.as_ref().and_then(|status| status.last_handled_renew_request.as_deref()) == Some(value)
        }
    };
    world.patch("one", ask("1")).await;
    world.wait("one", "first request handled", handled("1")).await;
    assert_ne!(world.token("one-token").await, first);
    assert_eq!(world.zoho.stats().token.posts, 2);
    for value in ["2", "3", "4", "5", "6"] {
        world.patch("one", ask(value)).await;
        world.wait("one", "request handled", handled(value)).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 5, "wanted mints leave room for needed ones");
    assert!(is(&world.get("one").await, ConditionType::Renewable, "TokenValid"));
}

#[tokio::test]
async fn foreign_secret_is_left_alone_until_its_owner_consents() {
    let world = World::new("foreign_secret").await;
    let _operator = world.operator();
    let foreign: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "one-token" }, "stringData": { "mine": "yes" } }))
            .expect("a Secret");
    let foreign = world.secrets().create(&PostParams::default(), &foreign).await.expect("created");
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let seen = world.wait_for_reason("one", "TargetNotOwned").await;
    assert!(
        message(&seen, ConditionType::Renewable).contains("kubectl annotate secret"),
        "{}",
        message(&seen, ConditionType::Renewable)
    );
    assert_eq!(world.secret("one-token").await, Some(foreign));
    assert_eq!(world.zoho.stats().token.posts, 0);
    let consent = json!({ "metadata": { "annotations": { "zoho-operator.dev/adopt": "one" } } });
    world.secrets().patch("one-token", &PatchParams::default(), &Patch::Merge(consent)).await.expect("annotated");
    world.wait_ready("one").await;
    assert_eq!(world.zoho.live_tokens(REFRESH_TOKEN), [world.token("one-token").await.expect("a token")]);
}

#[tokio::test]
async fn label_of_ours_is_no_consent() {
    let world = World::new("label_no_consent").await;
    let _operator = world.operator();
    world.good_source("source").await;
    let credential = world.credential("one", "source", json!({ "suspend": true })).await;
    world.wait_for_reason("one", "Suspended").await;
    let labels = json!({ "app.kubernetes.io/managed-by": "zoho-operator", "zoho-operator.dev/credential-uid": credential.metadata.uid });
    let planted = json!({ "metadata": { "name": "one-token", "labels": labels }, "stringData": { "mine": "yes" } });
    let planted: Secret = serde_json::from_value(planted).expect("a Secret");
    let planted = world.secrets().create(&PostParams::default(), &planted).await.expect("created");
    world.patch("one", json!({ "spec": { "suspend": false } })).await;
    world.wait_for_reason("one", "TargetNotOwned").await;
    assert_eq!(world.secret("one-token").await, Some(planted));
    assert_eq!(world.zoho.stats().token.posts, 0);
}

#[tokio::test]
async fn who_knows_only_the_refresh_token_gets_nothing_and_does_not_hold_up_its_owner() {
    let (world, _operator) = World::served("guesser").await;
    for guess in 0..4 {
        let source = format!("guess-{guess}");
        let secret = format!("guessed-{guess}");
        let pairs = [("client_id", CLIENT_ID), ("client_secret", secret.as_str()), ("refresh_token", REFRESH_TOKEN)];
        world.source(&source, &pairs).await;
        world.credential(&source, &source, json!({})).await;
    }
    eventually("two guesses were tried", async || (world.zoho.stats().token.posts >= 3).then_some(())).await;
    for guess in 0..4 {
        let guess = format!("guess-{guess}");
        world
            .wait(&guess, "refused or out of budget", |seen| {
                is(seen, ConditionType::Renewable, "ClientRejected")
                    || is(seen, ConditionType::Renewable, "MintBudgetExhausted")
            })
            .await;
        assert!(world.secret(&format!("{guess}-token")).await.is_none());
    }
    assert_eq!(world.zoho.stats().token.posts, 3, "all guessers together hold two attempts");
    world.patch("one", json!({ "metadata": { "annotations": { "zoho-operator.dev/renew-requested": "now" } } })).await;
    eventually("the owner is served at once", async || (world.zoho.stats().token.mints == 2).then_some(())).await;
}

#[tokio::test]
async fn credential_deleted_during_its_mint_leaves_nothing_behind() {
    let world = World::new("deleted_in_flight").await;
    let _operator = world.operator();
    world.good_source("source").await;
    world.zoho.script_for(REFRESH_TOKEN, Reply::MintThenHold);
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, DEADLINE).await.expect("a POST");
    world.credentials().delete("one", &DeleteParams::default()).await.expect("deleted at once: there is no finalizer");
    assert!(world.credentials().get_opt("one").await.expect("readable").is_none());
    world.caught_up().await;
    world.zoho.release();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.secret("one-token").await.is_none(), "the token goes nowhere");
}

#[tokio::test]
async fn deleted_credential_takes_its_target_along() {
    let (world, _operator) = World::served("collected").await;
    world.credentials().delete("one", &DeleteParams::default()).await.expect("deleted");
    eventually("the target is collected", async || world.secret("one-token").await.is_none().then_some(())).await;
}
