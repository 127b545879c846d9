//! Answers and lists about the past: taken in only for what they can know.

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use zoho_testkit::fault_proxy::{Action, Answer, FaultProxy, FrameAction, METADATA_LIST, Match, Point, Verb, Window};

use super::{behind_a_proxy, count, writes};
use crate::support::eventually;
use crate::support::operator::Operator;
use crate::support::world::World;

fn status_patch() -> Match {
    Match::new(Verb::Patch, "zohocredentials").subresource("status")
}

/// A world with one credential, whose first status is written and whose answer is on its way.
async fn with_a_late_answer(test: &str) -> (World, FaultProxy, Operator, zoho_testkit::fault_proxy::Stopped) {
    let (world, proxy, operator) = behind_a_proxy(test).await;
    let mut point = proxy.breakpoint(status_patch(), Window::ONCE, Point::Applied);
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let stopped = point.reached().await.expect("a status is written");
    (world, proxy, operator, stopped)
}

#[tokio::test]
async fn late_answer_to_a_status_patch_does_not_bring_a_deleted_credential_back() {
    let (world, proxy, _operator, late) = with_a_late_answer("late_answer").await;
    world.credentials().delete("one", &DeleteParams::default()).await.expect("deleted");
    eventually("the target is collected", async || world.secret("one-token").await.is_none().then_some(())).await;
    // A later object that the watch tells of: it has told of the deletion before.
    world.credential("two", "source", json!({})).await;
    world.wait_ready("two").await;
    let before = writes(&proxy).len();
    late.go_on();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let since = &writes(&proxy)[before..];
    assert!(since.is_empty(), "nothing is written for nobody: {since:#?}");
    assert!(world.secret("one-token").await.is_none());
    assert_eq!(world.zoho.stats().token.posts, 1, "the second one has the token of the first");
}

#[tokio::test]
async fn late_answer_about_the_former_credential_does_not_replace_the_one_of_the_same_name() {
    let (world, _proxy, _operator, late) = with_a_late_answer("former_answer").await;
    world.credentials().delete("one", &DeleteParams::default()).await.expect("deleted");
    eventually("the target is collected", async || world.secret("one-token").await.is_none().then_some(())).await;
    let made_anew = world.credential("one", "source", json!({})).await;
    world.credential("two", "source", json!({})).await;
    world.wait_ready("two").await;
    late.go_on();
    let served = world.wait_ready("one").await;
    assert_eq!(served.metadata.uid, made_anew.metadata.uid);
    // And it goes on to be served.
    world.delete_secret("one-token").await;
    eventually("the target is back", async || world.secret("one-token").await).await;
}

#[tokio::test]
async fn status_that_meets_a_conflict_is_written_again_in_seconds_though_no_watch_tells() {
    const CONFLICTS: usize = 5;
    let (world, proxy, _operator) = behind_a_proxy("conflict").await;
    world.serve_one().await;
    // An edit that the operator hears of, and then another one that it does not.
    proxy.rule(status_patch(), Window::times(CONFLICTS), Action::Answer(Answer::conflict()));
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    let patches = || {
        let trace = proxy.trace();
        let patches =
            trace.iter().filter(|record| record.call.subresource == "status" && record.fault.contains("Answer"));
        patches.map(|record| record.at).collect::<Vec<_>>()
    };
    eventually("the first is refused", async || (!patches().is_empty()).then_some(())).await;
    proxy.frames(Match::new(Verb::Watch, "zohocredentials"), Window::ALWAYS, FrameAction::Hold);
    world.patch("one", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    world.wait_for_reason("one", "Suspended").await;
    let refused = patches();
    let written = proxy.trace().iter().rfind(|record| record.call.subresource == "status").expect("one").at;
    let pauses: Vec<Duration> = refused
        .windows(2)
        .map(|two| two[1].saturating_sub(two[0]))
        .chain([written.saturating_sub(refused[CONFLICTS - 1])])
        .collect();
    // Two seconds each. The watch would be waited for for minutes.
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(15)), "{pauses:?}");
    assert_eq!(world.zoho.stats().token.posts, 1);
}

/// A world with so many credentials, all valid, whose operator was killed.
async fn valid(test: &str, count: usize) -> World {
    let world = World::new(test).await;
    world.create_many(&world.zoho.register_many("load", count)).await;
    world
}

#[tokio::test]
async fn restart_with_an_old_list_of_secrets_writes_and_mints_nothing() {
    restart_with_an_old_list("old_secrets", 40, Duration::from_secs(6)).await;
}

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn restart_of_five_hundred_with_a_list_that_stays_old_for_twenty_seconds_writes_and_mints_nothing() {
    restart_with_an_old_list("old_secrets_of_many", 500, Duration::from_secs(20)).await;
}

async fn restart_with_an_old_list(test: &str, count: usize, stays: Duration) {
    let world = valid(test, count).await;
    let proxy = world.proxy();
    // From before there was any target, and before one of the sources: that one does not even stand in the list.
    world.delete_secret("source-0").await;
    let path = format!("/api/v1/namespaces/{}/secrets?limit=500", world.namespace);
    let old = proxy.capture(&path, METADATA_LIST).await.expect("a list");
    let first = world.zoho.register_many("again", 1).remove(0);
    world.source_of("source-0", &first).await;
    let operator = world.operator();
    let mut ready = Vec::new();
    for number in 0..count {
        ready.push(world.wait_ready(&format!("c{number}")).await);
    }
    let posts = world.zoho.stats().token.posts;
    operator.kill();

    proxy.rule(Match::new(Verb::List, "secrets"), Window::ALWAYS, Action::Answer(old));
    let held = proxy.frames(Match::new(Verb::Watch, "secrets"), Window::ALWAYS, FrameAction::Hold);
    let restarted = world.operator_behind(&proxy, &[]);
    restarted.synced().await;
    tokio::time::sleep(stays).await;
    let unchanged = async || {
        let written: Vec<String> = writes(&proxy).iter().map(ToString::to_string).collect();
        assert!(written.is_empty(), "{written:#?}");
        assert_eq!(world.zoho.stats().token.posts, posts);
        for before in &ready {
            let name = before.metadata.name.as_deref().expect("a name");
            assert_eq!(world.get(name).await.metadata.resource_version, before.metadata.resource_version, "{name}");
        }
    };
    unchanged().await;
    // Now the view becomes fresh, and nobody is left in a wrong state.
    proxy.clear();
    proxy.remove_frames(held);
    tokio::time::sleep(Duration::from_secs(3)).await;
    unchanged().await;
    world.delete_secret("c0-token").await;
    eventually("what happens now is noticed", async || world.secret("c0-token").await).await;
}

#[tokio::test]
async fn restart_with_an_old_list_of_credentials_does_not_mint_from_a_former_source() {
    let world = World::new("old_credentials").await;
    let proxy = world.proxy();
    let both = world.zoho.register_many("both", 2);
    world.source_of("former", &both[0]).await;
    world.source_of("present", &both[1]).await;
    let operator = world.operator();
    world.credential("one", "former", json!({})).await;
    world.wait_ready("one").await;
    let path = format!("/apis/zoho-operator.dev/v1alpha1/namespaces/{}/zohocredentials?limit=500", world.namespace);
    let old = proxy.capture(&path, "application/json").await.expect("a list");
    world
        .patch("one", json!({ "spec": { "secretRef": { "name": "present" }, "target": { "name": "renamed" } } }))
        .await;
    let token = eventually("the target of the new name", async || world.token("renamed").await).await;
    world.wait_ready("one").await;
    let former = world.secret("one-token").await.expect("it stays until it expires");
    operator.kill();

    proxy.rule(Match::new(Verb::List, "zohocredentials"), Window::ALWAYS, Action::Answer(old));
    proxy.frames(Match::new(Verb::Watch, "zohocredentials"), Window::ALWAYS, FrameAction::Hold);
    // Both tokens are due for renewal, the former one and the present one.
    world.advance(2000);
    let restarted = world.operator_behind(&proxy, &[]);
    restarted.synced().await;
    eventually("it goes on from the object as it is", async || (world.token("renamed").await? != token).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.zoho.counts(&both[0].refresh_token).posts, 1, "nothing more is asked for from the former source");
    assert_eq!(world.secret("one-token").await, Some(former), "nor is the former target written");
}

#[tokio::test]
async fn list_that_is_older_than_what_is_known_changes_nothing() {
    let world = World::new("older_list").await;
    let proxy = world.proxy();
    world.good_source("source").await;
    world.credential("one", "source", json!({ "suspend": true })).await;
    let secrets = proxy
        .capture(&format!("/api/v1/namespaces/{}/secrets?limit=500", world.namespace), METADATA_LIST)
        .await
        .expect("a list");
    let path = format!("/apis/zoho-operator.dev/v1alpha1/namespaces/{}/zohocredentials?limit=500", world.namespace);
    let credentials = proxy.capture(&path, "application/json").await.expect("a list");
    world.patch("one", json!({ "spec": { "suspend": false } })).await;
    let operator = world.operator_behind(&proxy, &[]);
    operator.synced().await;
    let before = world.wait_ready("one").await;
    let written = writes(&proxy).len();
    // Both watches are told that they are too late, and what they list then is from a server that is behind.
    for (resource, old) in [("secrets", secrets), ("zohocredentials", credentials)] {
        proxy.rule(Match::new(Verb::List, resource), Window::times(2), Action::Answer(old));
        proxy.frames(Match::new(Verb::Watch, resource).namespace(&world.namespace), Window::ONCE, FrameAction::Gone);
    }
    world.patch("one", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    let touch = json!({ "metadata": { "labels": { "touched": "yes" } } });
    let touch = kube::api::Patch::Merge(touch);
    world.secrets().patch("source", &kube::api::PatchParams::default(), &touch).await.expect("touched");
    eventually("both are listed anew, from a server that has caught up", async || {
        let listed = |resource| count(&proxy, Verb::List, resource) >= 4;
        (listed("secrets") && listed("zohocredentials")).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let since: Vec<String> = writes(&proxy)[written..].iter().map(ToString::to_string).collect();
    assert!(since.is_empty(), "{since:#?}");
    assert_eq!(world.get("one").await.status, before.status);
    assert_eq!(world.zoho.stats().token.posts, 1);
    world.delete_secret("one-token").await;
    eventually("the target is back", async || world.secret("one-token").await).await;
}
