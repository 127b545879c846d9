//! Hours and days of many credentials, the clock moved from one due time to the next.

use std::time::Duration;

use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use zoho_api::ZohoCredential;
use zoho_simulator::script::{Page, Reply, Script};

use crate::support::look::{is_ready, text};
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};
use crate::support::{eventually, tell};

/// Waits until nothing is due any more: whatever had to be done at this instant is done and reported.
pub(crate) async fn settled(world: &World) {
    eventually("nothing is due", async || {
        let now = world.zoho.now().as_second();
        let all = world.credentials().list(&ListParams::default()).await.ok()?;
        let waits = |credential: &ZohoCredential| {
            let next = credential.status.as_ref().and_then(|status| status.next_attempt_time);
            let is_suspended = credential.spec.suspend;
            is_suspended || next.is_some_and(|next| next.unix() > now)
        };
        all.items.iter().all(waits).then_some(())
    })
    .await;
}

/// Every target holds a token that lives upstream.
async fn all_alive(world: &World) {
    let labelled = ListParams::default().labels("app.kubernetes.io/managed-by=zoho-operator");
    for target in world.secrets().list(&labelled).await.expect("listed").items {
        let token = text(&target, "access_token");
        assert!(world.zoho.is_alive(&token), "{:?} holds a dead token", target.metadata.name);
    }
}

/// Plays so many hours of so many credentials, with a restart every few hours.
async fn play(test: &str, credentials: usize, hours: usize, step: i64) {
    let world = World::new(test).await;
    world.zoho.set_latency(Duration::ZERO);
    let mut operator = world.operator();
    let many = world.zoho.register_many("day", credentials);
    world.create_many(&many).await;
    settled(&world).await;
    let steps = usize::try_from(3600 / step).expect("steps are shorter than an hour") * hours;
    for number in 1..=steps {
        world.advance(step);
        if number % (steps / 6) == 0 {
            operator.kill();
            operator = world.operator();
        }
        settled(&world).await;
        all_alive(&world).await;
    }
    let counts = world.zoho.stats().token;
    let most = many.iter().map(|credential| world.zoho.max_alive_seen(&credential.refresh_token)).max();
    tell(&format!(
        "{credentials} credentials, {hours} h, 6 restarts: {} mints, {} throttled, {} evicted, at most {} alive of one",
        counts.mints,
        counts.throttled,
        counts.evictions,
        most.unwrap_or_default()
    ));
    assert_eq!((counts.throttled, counts.evictions, counts.refused), (0, 0, 0));
    // Due at half of the life, up to a tenth of it earlier, and met at the next step.
    let longest = 24 * 60;
    let expected = credentials * (hours * 3600 / longest + 1);
    assert!(counts.mints <= expected as u64, "{} mints, at most {expected} are needed", counts.mints);
}

#[tokio::test]
async fn hours_of_many_credentials_meet_no_limit_and_no_dead_token() {
    play("hours", 20, 6, 720).await;
}

#[tokio::test]
#[ignore = "takes minutes: run by make test-long"]
async fn day_of_two_hundred_credentials_meets_no_limit_and_no_dead_token() {
    play("day", 200, 24, 360).await;
}

#[tokio::test]
async fn outage_of_twenty_minutes_that_mints_and_hides_every_token_lets_none_expire() {
    let world = World::new("swallowed").await;
    let _operator = world.operator();
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let renewal = world.wait_ready("one").await.status.and_then(|status| status.renewal_time).expect("a renewal time");
    // Beginning where it hurts most: directly before the first renewal is due.
    world.advance(renewal.unix() - world.zoho.now().as_second() - 5);
    let hidden = Reply::MintThenStatus(Page::html(502, "<h1>Bad Gateway</h1>"));
    world.zoho.script_for(REFRESH_TOKEN, Script::until_cleared(hidden));
    let alive = async || world.zoho.is_alive(&world.token("one-token").await.expect("a token"));
    for _ in 0..40 {
        world.advance(30);
        settled(&world).await;
        assert!(alive().await, "the token expired during the outage");
    }
    world.zoho.clear_scripts();
    let posts = world.zoho.stats().token.posts;
    let mut after = 0;
    while world.zoho.stats().token.posts == posts {
        assert!(alive().await, "the token expired after the outage");
        assert!(after <= 480, "not tried again within eight minutes");
        world.advance(15);
        after += 15;
        settled(&world).await;
    }
    world.wait_ready("one").await;
    assert!(alive().await);
    let counts = world.zoho.stats().token;
    tell(&format!("outage that mints and hides: {} hidden mints, healed {after} s after it", counts.mints - 2));
    assert_eq!((counts.throttled, counts.evictions), (0, 0));
    assert!(world.zoho.max_alive_seen(REFRESH_TOKEN) <= 7);
}

#[tokio::test]
async fn twenty_objects_in_two_namespaces_cost_one_mint_a_life_and_none_for_a_restart() {
    let world = World::new("sharers").await;
    let other = world.cluster.namespace("sharers-elsewhere").await;
    let elsewhere: Api<ZohoCredential> = Api::namespaced(world.client.clone(), &other);
    let both = format!("{},{other}", world.namespace);
    let operator = world.operator_with(&["--watch-namespaces", &both]);
    world.good_source("source").await;
    let copy = format!(
        r#"{{ "apiVersion": "v1", "kind": "Secret", "metadata": {{ "name": "source" }}, "stringData": {{ "client_id": "{CLIENT_ID}", "client_secret": "{CLIENT_SECRET}", "refresh_token": "{REFRESH_TOKEN}" }} }}"#
    );
    world.cluster.kubectl_stdin(&["apply", "-n", &other, "-f", "-"], &copy).await.expect("kubectl");
    for number in 0..10 {
        let name = format!("c{number}");
        world.credential(&name, "source", json!({})).await;
        let object =
            json!({ "metadata": { "name": name }, "spec": { "dataCenter": "US", "secretRef": { "name": "source" } } });
        let object = serde_json::from_value(object).expect("a credential");
        elsewhere.create(&PostParams::default(), &object).await.expect("created");
    }
    let all_ready = async || {
        eventually("all are ready", async || {
            let now = world.zoho.now().as_second();
            let here = world.credentials().list(&ListParams::default()).await.ok()?.items;
            let there = elsewhere.list(&ListParams::default()).await.ok()?.items;
            let is_fresh = |credential: &ZohoCredential| {
                let renewal = credential.status.as_ref().and_then(|status| status.renewal_time);
                is_ready(credential) && renewal.is_some_and(|renewal| renewal.unix() > now)
            };
            (here.len() + there.len() == 20 && here.iter().chain(&there).all(is_fresh)).then_some(())
        })
        .await;
    };
    all_ready().await;
    assert_eq!(world.zoho.stats().token.posts, 1);
    world.advance(1801);
    all_ready().await;
    assert_eq!(world.zoho.stats().token.posts, 2, "one for the renewal of all");
    operator.kill();
    let restarted = world.operator_with(&["--watch-namespaces", &both]);
    restarted.synced().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.zoho.stats().token.posts, 2, "a restart mints nothing");
    world.credential("newcomer", "source", json!({})).await;
    world.wait_ready("newcomer").await;
    assert!(world.zoho.stats().token.posts <= 3, "one who comes later costs one at most");
}
