//! Somebody else writes the target, or forbids to write it, and a renewal is due all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use zoho_api::ConditionType;
use zoho_testkit::control_plane::{AuditEntry, Identity};
use zoho_testkit::fault_proxy::{Match, Point, Verb, Window};

use crate::support::look::{is, text};
use crate::support::world::World;
use crate::support::{DEADLINE, eventually, tell};

#[tokio::test]
async fn due_renewal_goes_before_a_conflict_about_the_target() {
    let (world, _operator) = World::served("renewal_in_conflict").await;
    let edit = json!({ "data": { "authorization": "eA==" } });
    let stop = Arc::new(AtomicBool::new(false));
    let fighter = tokio::spawn({
        let (secrets, stop) = (world.secrets(), stop.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                // The object may change or go in between.
                let _ = secrets
                    .patch(
                        "one-token",
                        &PatchParams::apply("fighter").force(),
                        &Patch::Apply(json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "one-token" }, "data": edit["data"] })),
                    )
                    .await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    });
    world.wait_for_reason("one", "TargetConflict").await;
    world.advance(2200);
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("the renewal that is due");
    let started = Instant::now();
    eventually("the new token is stored", async || {
        let token = world.token("one-token").await?;
        (world.zoho.log().last()?.access_token.as_deref() == Some(token.as_str())).then_some(())
    })
    .await;
    tell(&format!("a renewal during a conflict was stored {:.1} s after its mint", started.elapsed().as_secs_f32()));
    stop.store(true, Ordering::Relaxed);
    fighter.await.expect("it ends");
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn writer_at_fifty_hertz_keeps_no_minted_token_out() {
    let world = World::new("fifty_hertz").await;
    let proxy = world.proxy();
    let _operator = world.operator_behind(&proxy, &[]);
    world.serve_one().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicUsize::new(0));
    let touching = tokio::spawn({
        let (secrets, stop, writes) = (world.secrets(), stop.clone(), writes.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let touch =
                    json!({ "metadata": { "annotations": { "writer": writes.load(Ordering::Relaxed).to_string() } } });
                if secrets.patch("one-token", &PatchParams::default(), &Patch::Merge(touch)).await.is_ok() {
                    writes.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    // The first write is held until the writer has been faster.
    let on = Match::new(Verb::Patch, "secrets").name("one-token").dry_run(false);
    let mut first = proxy.breakpoint(on, Window::ONCE, Point::Arrived);
    world.advance(2200);
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("the renewal");
    let minted = Instant::now();
    let stopped = first.reached().await.expect("it is written");
    let before = writes.load(Ordering::Relaxed);
    eventually("the writer writes", async || (writes.load(Ordering::Relaxed) > before + 1).then_some(())).await;
    stopped.go_on();
    eventually("the new token is stored", async || {
        let token = world.token("one-token").await?;
        (world.zoho.log().last()?.access_token.as_deref() == Some(token.as_str())).then_some(())
    })
    .await;
    let took = minted.elapsed();
    stop.store(true, Ordering::Relaxed);
    touching.await.expect("it ends");
    let is_lost = |entry: &AuditEntry| {
        entry.namespace == world.namespace
            && entry.user == Identity::Operator.user()
            && (&*entry.verb, &*entry.resource, entry.code) == ("patch", "secrets", 409)
    };
    assert!(!world.audited(is_lost).is_empty(), "the first write lost");
    tell(&format!(
        "a writer with {} writes kept a token out for {:.1} s",
        writes.load(Ordering::Relaxed),
        took.as_secs_f32()
    ));
    // Writes that are all refused are tried again after one, two, four and eight seconds, and so on.
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn complete_old_copy_that_is_put_back_again_and_again_is_a_conflict_after_five_repairs() {
    let (world, _operator) = World::served("old_copy").await;
    let old = world.secret("one-token").await.expect("the target");
    world.advance(2200);
    world.zoho.wait_for_posts(2, Duration::from_secs(60)).await.expect("the renewal");
    let newest = eventually("renewed", async || {
        let token = world.token("one-token").await?;
        (token != text(&old, "access_token")).then_some(token)
    })
    .await;
    let (mut put_back, started) = (0, Instant::now());
    while !is(&world.get("one").await, ConditionType::Renewable, "TargetConflict") {
        assert!(started.elapsed() < Duration::from_secs(60), "put back {put_back} times");
        if world.token("one-token").await.as_deref() == Some(newest.as_str()) {
            let mut copy = old.clone();
            copy.metadata.resource_version = None;
            copy.metadata.uid = None;
            copy.metadata.managed_fields = None;
            copy.metadata.creation_timestamp = None;
            if world.secrets().replace("one-token", &PostParams::default(), &copy).await.is_ok() {
                put_back += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(put_back <= 8, "{put_back}");
    assert_eq!(world.zoho.stats().token.posts, 2, "and nothing is minted for it");

    // Also where something else is the matter: once that is over it is put back, though nothing happens then.
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    world.wait_for_reason("one", "Suspended").await;
    let edit = Patch::Merge(json!({ "data": { "authorization": "eA==" } }));
    world.secrets().patch("one-token", &PatchParams::default(), &edit).await.expect("edited");
    let is_edited =
        async || world.secret("one-token").await.is_some_and(|target| text(&target, "authorization") == "x");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(is_edited().await, "it is left alone");
    world.advance(601);
    eventually("it is put back", async || (!is_edited().await).then_some(())).await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn token_whose_write_is_refused_is_stored_within_a_minute_of_the_refusals_end_and_nothing_is_minted_meanwhile() {
    use zoho_testkit::fault_proxy::{Action, Answer, Match, Verb, Window};
    let (world, operator) = World::served("refused_renewal").await;
    operator.kill();
    let proxy = world.proxy();
    let _operator = world.operator_behind(&proxy, &[]);
    world.wait_ready("one").await;
    let on = Match::new(Verb::Patch, "secrets").name("one-token");
    let rule = proxy.rule(on, Window::ALWAYS, Action::Answer(Answer::forbidden()));
    world.advance(2200);
    world.wait_for_reason("one", "WriteRefused").await;
    let posts = world.zoho.stats().token.posts;
    assert!(posts <= 2);
    world.advance(31);
    tokio::time::sleep(Duration::from_secs(4)).await;
    world.advance(31);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.zoho.stats().token.posts, posts, "what cannot be stored is not minted again");
    proxy.remove(rule);
    let lifted = Instant::now();
    world.wait_ready("one").await;
    tell(&format!("stored {:.1} s after the policy was lifted", lifted.elapsed().as_secs_f32()));
    assert!(lifted.elapsed() < Duration::from_secs(60), "{:?}", lifted.elapsed());
    assert_eq!(world.zoho.stats().token.posts, 2, "the token that was minted is the one that is stored");
}

#[tokio::test]
async fn former_target_stays_while_no_successor_holds_a_token() {
    let (world, _operator) = World::served("rename_to_taken").await;
    let taken =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "taken" }, "stringData": { "a": "b" } });
    let taken = serde_json::from_value(taken).expect("a Secret");
    world.secrets().create(&PostParams::default(), &taken).await.expect("created");
    world.patch("one", json!({ "spec": { "target": { "name": "taken" } } })).await;
    world.wait_for_reason("one", "TargetNotOwned").await;
    world.advance(3700);
    world
        .wait("one", "looked at after the old token's end", |seen| is(seen, ConditionType::Ready, "TargetNotOwned"))
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.secret("one-token").await.is_some(), "make first");
    world.patch("one", json!({ "spec": { "target": { "name": "free" } } })).await;
    world.wait_ready("one").await;
    eventually("now the former one goes", async || world.secret("one-token").await.is_none().then_some(())).await;
}

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn target_that_is_deleted_a_hundred_times_in_a_minute_costs_no_mint() {
    let (world, _operator) = World::served("deleted_often").await;
    let token = world.token("one-token").await.expect("a token");
    let started = Instant::now();
    let mut deleted = 0;
    while deleted < 100 {
        assert!(started.elapsed() < 5 * DEADLINE, "deleted {deleted} times");
        // It may be gone still.
        let gone = world.secrets().delete("one-token", &kube::api::DeleteParams::default()).await;
        deleted += usize::from(gone.is_ok());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tell(&format!("deleted {deleted} times in {:.0} s", started.elapsed().as_secs_f32()));
    let stored = eventually("the target is back", async || world.token("one-token").await).await;
    assert_eq!(stored, token);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1, "the token is known all the time");
}

#[tokio::test]
async fn target_that_lost_its_owner_and_labels_is_completed_without_a_mint() {
    let (world, _operator) = World::served("lost_owner").await;
    let before = world.secret("one-token").await.expect("the target");
    let strip = json!({ "metadata": { "ownerReferences": null, "labels": null } });
    world.secrets().patch("one-token", &PatchParams::default(), &Patch::Merge(strip)).await.expect("edited");
    eventually("it is complete again", async || {
        let now = world.secret("one-token").await?.metadata;
        (now.owner_references == before.metadata.owner_references && now.labels == before.metadata.labels).then_some(())
    })
    .await;
    assert_eq!(world.secret("one-token").await.expect("the target").data, before.data);
    assert_eq!(world.zoho.stats().token.posts, 1);
}
