//! What happened while nobody told: changes that no watch reports, lists from before them, lists that break off.

use std::time::Duration;

use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use zoho_api::{ConditionType, ZohoCredential};
use zoho_testkit::fault_proxy::{Action, Answer, FrameAction, METADATA_LIST, Match, Verb, Window};

use super::{behind_a_proxy, count};
use crate::support::eventually;
use crate::support::look::{is, is_ready};
use crate::support::world::World;

/// The path of the operator's list of credentials in a world's namespace.
fn credentials_of(world: &World) -> String {
    format!("/apis/zoho-operator.dev/v1alpha1/namespaces/{}/zohocredentials?limit=500", world.namespace)
}

#[tokio::test]
async fn list_that_says_deleting_does_no_harm_to_the_successor_of_that_name() {
    let (world, operator) = World::served("says_deleting").await;
    let proxy = world.proxy();
    // Somebody else's finalizer keeps it for a while, and the list is from then.
    world.patch("one", json!({ "metadata": { "finalizers": ["example.com/hold"] } })).await;
    world.credentials().delete("one", &DeleteParams::default()).await.expect("deleted");
    let former = world.get("one").await;
    assert!(former.metadata.deletion_timestamp.is_some());
    let old = proxy.capture(&credentials_of(&world), "application/json").await.expect("a list");
    world.patch("one", json!({ "metadata": { "finalizers": null } })).await;
    eventually("the target is collected", async || world.secret("one-token").await.is_none().then_some(())).await;
    world.credential("one", "source", json!({})).await;
    let successor = world.wait_ready("one").await;
    let target = world.secret("one-token").await.expect("its target");
    let posts = world.zoho.stats().token.posts;
    operator.kill();

    proxy.rule(Match::new(Verb::List, "zohocredentials"), Window::ALWAYS, Action::Answer(old));
    proxy.frames(Match::new(Verb::Watch, "zohocredentials"), Window::ALWAYS, FrameAction::Hold);
    let restarted = world.operator_behind(&proxy, &[]);
    restarted.synced().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.secret("one-token").await.as_ref(), Some(&target));
    assert_eq!(world.get("one").await.metadata.resource_version, successor.metadata.resource_version);
    assert_eq!(world.zoho.stats().token.posts, posts);
    // Once the view is fresh, the successor is served.
    proxy.clear();
    world.delete_secret("one-token").await;
    eventually("the target is back", async || world.secret("one-token").await).await;
}

#[tokio::test]
async fn changes_that_no_watch_tells_of_end_as_if_they_had_been_seen() {
    let (world, proxy, _operator) = behind_a_proxy("missed").await;
    let other = world.zoho.register_many("missed", 1).remove(0);
    world.serve_one().await;
    let before = world.secret("one-token").await.expect("the target");
    let lost = proxy.frames(Match::any().namespace(&world.namespace), Window::ALWAYS, FrameAction::Drop);
    for is_suspended in [true, false] {
        world.patch("one", json!({ "spec": { "suspend": is_suspended } })).await;
    }
    world.source_of("source", &other).await;
    world.good_source("source").await;
    world.delete_secret("one-token").await;
    let mut copy = before.clone();
    (copy.metadata.uid, copy.metadata.resource_version) = (None, None);
    world.secrets().create(&PostParams::default(), &copy).await.expect("made again");
    assert_eq!(world.zoho.stats().token.posts, 1);
    proxy.remove_frames(lost);
    // What has happened is found by a list.
    for kind in ["secrets", "zohocredentials"] {
        let on = Match::new(Verb::Watch, kind).namespace(&world.namespace);
        proxy.frames(on, Window::ONCE, FrameAction::Gone);
    }
    let touch = json!({ "metadata": { "labels": { "touched": "yes" } } });
    world.patch("one", touch.clone()).await;
    let touch = kube::api::Patch::Merge(touch);
    world.secrets().patch("source", &kube::api::PatchParams::default(), &touch).await.expect("touched");
    world.wait_ready("one").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.secret("one-token").await.expect("the target").data, before.data);
    assert_eq!(world.zoho.stats().token.posts, 1, "{}", proxy.transcript());
    // And the watches tell again.
    world.delete_secret("one-token").await;
    eventually("the target is back", async || world.secret("one-token").await).await;
}

/// What a pass reads is known from then on, and the watch says nothing new when it tells of it.
#[tokio::test]
async fn secret_that_one_pass_reads_before_the_watch_tells_of_it_concerns_all_who_name_it() {
    let (world, proxy, _operator) = behind_a_proxy("shared_news").await;
    let names = ["one", "two"];
    for name in names {
        world.credential(name, "source", json!({})).await;
    }
    for name in names {
        world.wait_for_reason(name, "SourceSecretNotFound").await;
    }
    let on = Match::new(Verb::Watch, "secrets").namespace(&world.namespace);
    let held = proxy.frames(on, Window::ALWAYS, FrameAction::Hold);
    world.good_source("source").await;
    // A change of the object that asks for nothing: it is looked at, and with it the source.
    world.patch("one", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    // Before the silence of the watch is noticed, which takes two minutes.
    for name in names {
        world.wait_within(name, "ready, though no watch tells", Duration::from_secs(45), is_ready).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 1, "{}", proxy.transcript());
    world.delete_secret("source").await;
    world.patch("one", json!({ "spec": { "secretRef": { "clientIdKey": "client_id" } } })).await;
    for name in names {
        let is_missing = |seen: &ZohoCredential| is(seen, ConditionType::Renewable, "SourceSecretNotFound");
        world.wait_within(name, "without a source, though no watch tells", Duration::from_secs(45), is_missing).await;
    }
    proxy.remove_frames(held);
    world.good_source("source").await;
    for name in names {
        world.wait_ready(name).await;
    }
}

#[tokio::test]
async fn list_that_expires_between_two_pages_is_listed_again() {
    let (world, operator) = World::served("continue").await;
    operator.kill();
    let proxy = world.proxy();
    let on = || Match::new(Verb::List, "secrets").namespace(&world.namespace);
    let path = format!("/api/v1/namespaces/{}/secrets?limit=500", world.namespace);
    let mut first = proxy.capture(&path, METADATA_LIST).await.expect("a list");
    let mut page: Value = serde_json::from_slice(&first.body).expect("JSON");
    page["metadata"]["continue"] = json!("more");
    page["items"] = json!([]);
    first.body = page.to_string().into();
    proxy.rule(on(), Window::nth(1), Action::Answer(first));
    proxy.rule(on(), Window::nth(2), Action::Answer(Answer::gone()));
    let restarted = world.operator_behind(&proxy, &[]);
    restarted.synced().await;
    assert_eq!(count(&proxy, Verb::List, "secrets"), 3, "{}", proxy.transcript());
    let ready = world.wait_ready("one").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.get("one").await.metadata.resource_version, ready.metadata.resource_version, "nothing is written");
    assert_eq!(world.zoho.stats().token.posts, 1);
}
