//! A status, and what is remembered, say no more than was done.

use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;
use zoho_api::{ConditionStatus, ConditionType, ZohoCredential, keys};
use zoho_simulator::script::{Reply, Script};
use zoho_testkit::fault_proxy::{Action, Answer, Match, Verb, Window};

use crate::support::look::{condition, is, is_ready, message};
use crate::support::world::{CLIENT_ID, REFRESH_TOKEN, World};
use crate::support::{eventually, tell, was_at_once};

const OTHER: &str = "1000.other0refresh.bbbbbbbb";

/// The same client with another refresh token.
async fn other_source(world: &World, name: &str) {
    world.confide("other0secret0aaaaaa");
    world
        .source(
            name,
            &[("client_id", "1000.OTHER"), ("client_secret", "other0secret0aaaaaa"), ("refresh_token", OTHER)],
        )
        .await;
}

async fn token_that_lives(world: &World, target: &str) -> String {
    eventually("a token that lives", async || {
        let token = world.token(target).await?;
        world.zoho.is_alive(&token).then_some(token)
    })
    .await
}

#[tokio::test]
async fn killed_during_the_first_request_of_a_changed_source_it_does_not_take_the_old_token_for_the_new_one() {
    let (world, operator) = World::served("changed_and_killed").await;
    world.zoho.register("1000.OTHER", "other0secret0aaaaaa", OTHER);
    world.zoho.script_for(OTHER, Script::once(Reply::MintThenHold));
    other_source(&world, "source").await;
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("the first request with the new source");
    // Whatever the status says by now, it was written before an answer.
    world.patch("one", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    operator.kill();
    world.zoho.clear_scripts();
    assert!(world.zoho.revoke(REFRESH_TOKEN));
    let restarted = Instant::now();
    let _second = world.operator();
    world.advance(31);
    world.advance(31);
    token_that_lives(&world, "one-token").await;
    tell(&format!(
        "changed source, killed, restarted: a living token after {:.1} s",
        restarted.elapsed().as_secs_f32()
    ));
    world.wait_ready("one").await;
}

#[tokio::test]
async fn killed_during_the_first_request_in_another_data_center_it_asks_there_again() {
    let world = World::new("data_center_and_killed").await;
    let elsewhere = format!("EU={}", world.zoho.url().replace("127.0.0.1", "localhost"));
    let operator = world.operator_with(&["--accounts-url", &elsewhere]);
    world.serve_one().await;
    world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::MintThenHold));
    world.patch("one", json!({ "spec": { "dataCenter": "EU" } })).await;
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("a request there");
    tokio::time::sleep(Duration::from_secs(3)).await;
    operator.kill();
    world.zoho.clear_scripts();
    let _second = world.operator_with(&["--accounts-url", &elsewhere]);
    world.advance(62);
    world.zoho.wait_for_posts(3, Duration::from_secs(60)).await.expect("a request with the present inputs");
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 3);
}

#[tokio::test]
async fn refused_new_source_says_nothing_against_the_living_token_of_the_former_one() {
    let (world, _operator) = World::served("refused_new_source").await;
    let token = world.token("one-token").await;
    world.confide("nobody0knows0this0one");
    world
        .source(
            "source",
            &[("client_id", CLIENT_ID), ("client_secret", "nobody0knows0this0one"), ("refresh_token", OTHER)],
        )
        .await;
    world.zoho.script_for(OTHER, Script::until_cleared(Reply::json(200, r#"{"error":"invalid_code"}"#)));
    let seen = world.wait_for_reason("one", "RefreshTokenRejected").await;
    assert!(is_ready(&seen) && is(&seen, ConditionType::Ready, "TokenValid"), "{:#?}", seen.status);
    world.advance(61);
    let seen = world
        .wait("one", "parked", |seen| {
            message(seen, ConditionType::Renewable).contains("or at once when that Secret changes")
        })
        .await;
    assert!(is_ready(&seen), "{:#?}", seen.status);
    assert_eq!(condition(&seen, ConditionType::Stalled), None);
    let said = message(&seen, ConditionType::Renewable);
    assert!(!said.contains("no longer work"), "{said}");
    assert_eq!(world.token("one-token").await, token);
    world.zoho.clear_scripts();
    world.good_source("source").await;
    world.wait_ready("one").await;
}

#[tokio::test]
async fn read_that_is_refused_is_a_reason_at_once_and_heals() {
    let world = World::new("read_refused").await;
    world.good_source("source").await;
    let proxy = world.proxy();
    let on = Match::new(Verb::Get, "secrets").name("source");
    let answer = Action::Answer(Answer::forbidden());
    let rule = proxy.rule(on, Window::ALWAYS, answer);
    let operator = world.operator_behind(&proxy, &[]);
    operator.synced().await;
    world.credential("one", "source", json!({})).await;
    let started = Instant::now();
    let seen = world.wait_for_reason("one", "ReadRefused").await;
    was_at_once(started);
    assert_eq!(seen.status.as_ref().and_then(|status| status.observed_generation), seen.metadata.generation);
    assert!(seen.status.as_ref().and_then(|status| status.next_attempt_time).is_some());
    assert_eq!(world.zoho.stats().token.posts, 0);
    proxy.remove(rule);
    world.advance(31);
    world.wait_ready("one").await;
}

#[tokio::test]
async fn target_that_may_not_be_read_is_a_reason_also_where_nothing_has_told_of_it() {
    let (world, operator) = World::served("target_unread").await;
    operator.kill();
    let proxy = world.proxy();
    let rule = proxy.rule(
        Match::new(Verb::Get, "secrets").name("one-token"),
        Window::ALWAYS,
        Action::Answer(Answer::forbidden()),
    );
    let _operator = world.operator_behind(&proxy, &["--secret-access=get"]);
    let seen = world.wait_for_reason("one", "ReadRefused").await;
    assert!(message(&seen, ConditionType::Renewable).contains("one-token"));
    assert_eq!(world.zoho.stats().token.posts, 1, "what may be there is not minted anew");
    proxy.remove(rule);
    world.advance(61);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}

/// What a newer version of the kinds lets through is an object that this operator cannot read.
#[tokio::test]
async fn object_that_cannot_be_read_says_so_though_the_first_word_is_lost() {
    let world = World::alone("unreadable").await;
    let proxy = world.proxy();
    let operator = world.operator_behind(&proxy, &[]);
    operator.synced().await;
    world.serve_one().await;
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let newer = json!([{ "op": "add", "value": "NotYetKnown",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/product/enum/-" }]);
    let newer = Patch::Json::<()>(serde_json::from_value(newer).expect("a patch"));
    crds.patch("zohocredentials.zoho-operator.dev", &PatchParams::default(), &newer).await.expect("changed");
    let rule = proxy.rule(Match::any().subresource("status"), Window::ONCE, Action::Answer(Answer::internal_error()));
    let raw: Api<DynamicObject> =
        Api::namespaced_with(world.client.clone(), &world.namespace, &ApiResource::erase::<ZohoCredential>(&()));
    eventually("the new word is known", async || {
        let patch = Patch::Merge(json!({ "spec": { "product": "NotYetKnown" } }));
        raw.patch("one", &PatchParams::default(), &patch).await.ok()
    })
    .await;
    eventually("it says that it cannot be read", async || {
        let seen = raw.get("one").await.expect("it is there");
        let conditions = seen.data["status"]["conditions"].as_array()?;
        conditions.iter().any(|condition| condition["reason"] == "InvalidSpec").then_some(())
    })
    .await;
    assert!(proxy.seen(rule) >= 2, "the first word was lost");
}

#[tokio::test]
async fn former_target_that_may_not_be_deleted_holds_up_nothing_else() {
    let (world, operator) = World::served("former_target_stays").await;
    operator.kill();
    let proxy = world.proxy();
    let on = Match::new(Verb::Delete, "secrets");
    let answer = Action::Answer(Answer::forbidden());
    let rule = proxy.rule(on, Window::ALWAYS, answer);
    let _operator = world.operator_behind(&proxy, &[]);
    world.patch("one", json!({ "spec": { "target": { "name": "renamed" } } })).await;
    world.wait_ready("one").await;
    world.advance(3700);
    eventually("the deletion was refused", async || (proxy.seen(rule) > 0).then_some(())).await;
    let seen = world.wait_ready("one").await;
    assert_eq!(seen.status.and_then(|status| status.target).as_deref(), Some("renamed"));
    assert!(world.secret("one-token").await.is_some());
    eventually("a warning names it", async || {
        let events = world.events_of("one").await;
        events.iter().any(|event| event.contains("WriteRefused") && event.contains("one-token")).then_some(())
    })
    .await;
    proxy.remove(rule);
    world.advance(61);
    eventually("the former target is deleted", async || world.secret("one-token").await.is_none().then_some(())).await;
}

#[tokio::test]
async fn refused_write_of_one_name_says_nothing_of_another() {
    let world = World::new("refused_name").await;
    world.good_source("source").await;
    let proxy = world.proxy();
    let on = Match::new(Verb::Create, "secrets").namespace(&world.namespace);
    let answer = Action::Answer(Answer::forbidden());
    let rule = proxy.rule(on, Window::ALWAYS, answer);
    let _operator = world.operator_behind(&proxy, &[]);
    world.credential("one", "source", json!({ "target": { "name": "forbidden" } })).await;
    let seen = world.wait_for_reason("one", "WriteRefused").await;
    assert!(message(&seen, ConditionType::Renewable).contains("/forbidden"));
    proxy.remove(rule);
    let started = Instant::now();
    world.patch("one", json!({ "spec": { "target": { "name": "allowed" } } })).await;
    world.wait_ready("one").await;
    // The pause is for the other name.
    was_at_once(started);
}

#[tokio::test]
async fn labels_and_annotations_that_are_chosen_no_longer_go_and_those_of_others_stay() {
    let world = World::new("chosen_metadata").await;
    let _operator = world.operator();
    world.good_source("source").await;
    let chosen =
        json!({ "target": { "labels": { "team": "a", "stays": "b" }, "annotations": { "example.com/note": "c" } } });
    world.credential("one", "source", chosen).await;
    world.wait_ready("one").await;
    let foreign = json!({ "metadata": { "labels": { "foreign": "yes" } } });
    world.secrets().patch("one-token", &PatchParams::default(), &Patch::Merge(foreign)).await.expect("labelled");
    world.patch("one", json!({ "spec": { "target": { "labels": { "team": null }, "annotations": null } } })).await;
    eventually("what is chosen no longer is gone", async || {
        let metadata = world.secret("one-token").await?.metadata;
        let (labels, annotations) = (metadata.labels?, metadata.annotations?);
        let is_gone = !labels.contains_key("team") && !annotations.contains_key("example.com/note");
        (is_gone && labels.contains_key("stays") && labels.contains_key("foreign")).then_some(())
    })
    .await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn planted_status_is_not_believed() {
    let (world, operator) = World::served("planted_status").await;
    operator.kill();
    // A target that nobody minted, with a record that names a stranger's attempt, and a status that vouches for it.
    world.delete_secret("one-token").await;
    let uid = world.get("one").await.metadata.uid.expect("a uid");
    let planted = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": { "access_token": "1000.planted.token" },
        "metadata": { "name": "one-token",
            "annotations": { keys::ISSUED_AT: "2026-01-01T00:00:00Z", keys::EXPIRES_AT: "2099-01-01T00:00:00Z",
                keys::MINTED_FROM: "0.0", keys::ATTEMPT: "stranger" },
            "ownerReferences": [{ "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential", "name": "one",
                "uid": uid, "controller": true }] },
    });
    let planted = serde_json::from_value(planted).expect("a Secret");
    let planted = world.secrets().create(&kube::api::PostParams::default(), &planted).await.expect("planted");
    let version =
        format!("{}/{}", planted.metadata.uid.expect("a uid"), planted.metadata.resource_version.expect("a version"));
    let status = json!({ "status": { "observed": { "target": version }, "expirationTime": "2099-01-01T00:00:00Z" } });
    world.credentials().patch_status("one", &PatchParams::default(), &Patch::Merge(status)).await.expect("planted");
    world.advance(120);
    let _second = world.operator();
    token_that_lives(&world, "one-token").await;
    let seen = world.wait_ready("one").await;
    assert_eq!(condition(&seen, ConditionType::Ready), Some(ConditionStatus::True));
}

#[tokio::test]
async fn operator_whose_definition_is_older_than_itself_mints_once_and_rests() {
    let world = World::alone("older_definition").await;
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/observed";
    let without = json!([{ "op": "remove", "path": field }]).to_string();
    let args = ["patch", "crd", "zohocredentials.zoho-operator.dev", "--type=json", "-p", &without];
    let patched = world.cluster.kubectl(&args).await.expect("kubectl runs");
    assert!(patched.status.success(), "{}", String::from_utf8_lossy(&patched.stderr));
    eventually("the field is gone", async || {
        world.credential("probe", "probe", json!({})).await;
        let status = json!({ "status": { "observedGeneration": 7, "observed": { "seal": "x" } } });
        let patch = Patch::Merge(status);
        let stored = world.credentials().patch_status("probe", &PatchParams::default(), &patch).await.expect("stored");
        world.credentials().delete("probe", &DeleteParams::default()).await.expect("deleted");
        stored.status.is_some_and(|status| status.observed.is_none()).then_some(())
    })
    .await;
    let operator = world.operator();
    world.serve_one().await;
    operator.kill();
    let restarted = world.operator();
    restarted.synced().await;
    world.caught_up().await;
    let of_it = || world.writes().into_iter().filter(|write| ["one", "one-token"].contains(&&*write.name)).count();
    let before = of_it();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(of_it(), before, "it rests");
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn status_that_nobody_can_read_ends_no_service() {
    let (world, operator) = World::served("odd_status").await;
    let resource = ApiResource::erase::<ZohoCredential>(&());
    let objects = Api::<DynamicObject>::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let plant = async || {
        let odd = Patch::Merge(json!({ "status": { "expirationTime": "2026-01-01T00:00:00ZTx" } }));
        objects.patch_status("one", &PatchParams::default(), &odd).await.expect("the API server takes it");
    };
    plant().await;
    world.advance(2200);
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("the renewal");
    world.wait_ready("one").await;
    plant().await;
    operator.kill();
    let restarted = world.operator();
    restarted.synced().await;
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}
