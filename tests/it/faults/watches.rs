//! Watches that hang, fall silent, are refused or end; and an API server that goes away and comes back, also as another
//! one.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use zoho_api::keys;
use zoho_simulator::script::{Reply, Script};
use zoho_testkit::fault_proxy::{Action, Answer, FrameAction, Match, Verb, Window};

use super::{behind_a_proxy, count, writes};
use crate::metrics::address;
use crate::secret_access::account;
use crate::support::operator::Operator;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};
use crate::support::{DEADLINE, eventually};

/// What a half-open connection may cost at most.
const NOTICED_WITHIN: Duration = Duration::from_secs(125);
const SECRETS: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// Head and body of an answer.
async fn get(address: &str, path: &str) -> String {
    let (head, body) = crate::metrics::get(address, path, "*/*").await;
    format!("{head}\n\n{body}")
}

async fn watch_up(operator: &Operator, kind: &str) -> String {
    let address = address(operator, "metrics").await;
    let text = get(&address, "/metrics").await;
    let line = text.lines().find(|line| line.starts_with("zoho_operator_watch_up") && line.contains(kind));
    line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
}

async fn within(limit: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    started.elapsed()
}

#[tokio::test]
#[ignore = "waits for two minutes"]
async fn list_that_is_never_answered_at_the_start_holds_nothing_up_for_longer_than_125_seconds() {
    let world = World::new("hung_list").await;
    let proxy = world.proxy();
    let hung: Vec<_> = [
        ("secrets", &world.namespace, 1),
        // The first question about credentials is whether there is such a kind; the watch asks the second one.
        ("zohocredentials", &world.namespace, 2),
        // Before there is a hash key, two questions are whether there are ledgers without it.
        ("zohomintledgers", &world.operator_namespace, 3),
    ]
    .into_iter()
    .map(|(resource, namespace, nth)| {
        let on = Match::new(Verb::List, resource).namespace(namespace);
        (resource, nth, proxy.rule(on, Window::nth(nth), Action::Hang))
    })
    .collect();
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let operator = world.operator_behind(&proxy, &[]);
    let health = address(&operator, "health").await;
    let ready = get(&health, "/readyz").await;
    assert!(ready.contains("503") && ready.contains("the list of secrets"), "{ready}");
    assert_eq!(watch_up(&operator, "secrets").await, "0");
    for (resource, nth, rule) in hung {
        eventually(&format!("the list of {resource} hangs"), async || (proxy.seen(rule) >= nth).then_some(())).await;
    }
    let took = within(NOTICED_WITHIN, "served", async || world.secret("one-token").await.is_some()).await;
    crate::support::tell(&format!("served {} s after lists that were never answered", took.as_secs()));
    assert!(operator.log().contains("the list was not answered within 60 s"));
    assert!(get(&health, "/readyz").await.contains("200"));
}

#[tokio::test]
#[ignore = "waits for two minutes"]
async fn watches_that_are_never_answered_or_fall_silent_are_noticed_within_125_seconds() {
    let world = World::new("hung_watch").await;
    let proxy = world.proxy();
    let secrets = || Match::new(Verb::Watch, "secrets");
    proxy.rule(secrets(), Window::ONCE, Action::Hang);
    let operator = world.operator_behind(&proxy, &[]);
    operator.synced().await;
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let took = within(NOTICED_WITHIN, "served", async || world.secret("one-token").await.is_some()).await;
    crate::support::tell(&format!("served {} s after a watch that was never answered", took.as_secs()));
    world.wait_ready("one").await;

    // Half-open: nothing comes any more, not even the end.
    let held = proxy.frames(Match::any(), Window::ALWAYS, FrameAction::Hold);
    world.delete_secret("one-token").await;
    let opened = count(&proxy, Verb::Watch, "secrets");
    let took = within(NOTICED_WITHIN, "opened again", async || count(&proxy, Verb::Watch, "secrets") > opened).await;
    crate::support::tell(&format!("silence noticed after {} s", took.as_secs()));
    let health = address(&operator, "health").await;
    let errors = get(&address(&operator, "metrics").await, "/metrics").await;
    assert!(
        errors.lines().any(
            |line| line.starts_with("zoho_operator_watch_errors_total{kind=\"secrets\"} ") && !line.ends_with(" 0")
        ),
        "{errors}"
    );
    proxy.remove_frames(held);
    within(Duration::from_secs(35), "put back", async || world.secret("one-token").await.is_some()).await;
    within(Duration::from_secs(35), "ready again", async || get(&health, "/readyz").await.contains("200")).await;
}

#[tokio::test]
async fn forbidden_namespace_does_not_keep_the_one_beside_it_from_being_served() {
    let world = World::new("forbidden").await;
    let good = world.namespace.clone();
    let forbidden = world.cluster.namespace("forbidden_beside").await;
    let kubeconfig = account(&world, "one-namespace", &good, &SECRETS).await;
    // Whichever comes first in the list.
    let orders = [format!("{forbidden},{good}"), format!("{good},{forbidden}")];
    for (number, (order, access)) in
        [(&orders[0], "watch"), (&orders[1], "watch"), (&orders[0], "get")].into_iter().enumerate()
    {
        let name = format!("c{number}");
        let args = ["--watch-namespaces", order, "--secret-access", access];
        let operator = world.operator_as(&args, &kubeconfig);
        world.good_source(&format!("source-{name}")).await;
        world.credential(&name, &format!("source-{name}"), json!({})).await;
        world.wait_ready(&name).await;
        let health = address(&operator, "health").await;
        eventually("ready, and it says what is refused", async || {
            let ready = get(&health, "/readyz").await;
            (ready.contains("200") && ready.contains(&forbidden)).then_some(())
        })
        .await;
        let metrics = get(&address(&operator, "metrics").await, "/metrics").await;
        let down = format!("zoho_operator_watch_up{{namespace=\"{forbidden}\",kind=\"zohocredentials\"}} 0");
        assert!(metrics.contains(&down), "{metrics}");
    }
    // What nobody uses any more goes here as well: the ledger of a refresh token that never worked.
    let operator = world.operator_as(&["--watch-namespaces", &orders[0]], &kubeconfig);
    world
        .source(
            "source-c0",
            &[("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", "1000.canary0wrong")],
        )
        .await;
    world.wait_for_reason("c0", "RefreshTokenRejected").await;
    world.good_source("source-c0").await;
    world.wait_ready("c0").await;
    world.advance(700);
    eventually("one ledger is left", async || {
        (world.ledgers().list(&ListParams::default()).await.expect("listed").items.len() == 1).then_some(())
    })
    .await;
    operator.kill();
    // The right comes later, and with it the service.
    let operator = world.operator_as(&["--watch-namespaces", &format!("{forbidden},{good}")], &kubeconfig);
    eventually("it is refused", async || operator.log().contains("watch failed").then_some(())).await;
    account(&world, "one-namespace", &forbidden, &SECRETS).await;
    operator.synced().await;
}

#[tokio::test]
async fn gone_as_event_and_as_http_means_one_list_a_kind_and_no_mint() {
    let (world, proxy, _operator) = behind_a_proxy("gone").await;
    world.serve_one().await;
    let kinds = ["secrets", "zohocredentials"];
    let lists = || kinds.map(|kind| count(&proxy, Verb::List, kind));
    for (round, by_http) in [false, true].into_iter().enumerate() {
        let before = lists();
        let written = writes(&proxy).len();
        for kind in kinds {
            let on = || Match::new(Verb::Watch, kind).namespace(&world.namespace);
            if by_http {
                proxy.rule(on(), Window::ONCE, Action::Answer(Answer::gone()));
                proxy.frames(on(), Window::ONCE, FrameAction::Reset);
            } else {
                proxy.frames(on(), Window::ONCE, FrameAction::Gone);
            }
        }
        let touch = json!({ "metadata": { "labels": { "round": round.to_string() } } });
        world.patch("one", touch.clone()).await;
        let patch = kube::api::Patch::Merge(touch);
        world.secrets().patch("source", &kube::api::PatchParams::default(), &patch).await.expect("touched");
        eventually("both are listed anew", async || {
            lists().iter().zip(before).all(|(now, before)| *now > before).then_some(())
        })
        .await;
        // The view is fresh: what happens now is noticed.
        assert_eq!(writes(&proxy).len(), written, "{}", proxy.transcript());
        world.delete_secret("one-token").await;
        eventually("the target is back", async || world.secret("one-token").await).await;
        assert_eq!(lists(), before.map(|lists| lists + 1), "{}", proxy.transcript());
        world.wait_ready("one").await;
    }
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn standby_forgets_what_is_gone() {
    let world = World::new("standby_queue").await;
    let args = ["--leader-elect=true"];
    let leader = world.operator_with(&args);
    leader.leading().await;
    let standby = world.operator_with(&args);
    standby.synced().await;
    let address = address(&standby, "metrics").await;
    let depth = async || {
        let text = get(&address, "/metrics").await;
        let line =
            text.lines().find(|line| line.starts_with("zoho_operator_queue_depth ")).expect("a depth").to_owned();
        line.rsplit(' ').next().and_then(|depth| depth.parse::<usize>().ok()).expect("a number")
    };
    for number in 0..20 {
        world.credential(&format!("c{number}"), "source", json!({ "suspend": true })).await;
    }
    eventually("the standby knows them", async || (depth().await == 20).then_some(())).await;
    for number in 0..20 {
        world.credentials().delete(&format!("c{number}"), &DeleteParams::default()).await.expect("deleted");
    }
    eventually("and forgets them", async || (depth().await == 0).then_some(())).await;
}

#[tokio::test]
async fn sixty_that_hang_do_not_hold_up_others_of_their_host() {
    let world = World::new("sixty").await;
    world.zoho.set_latency(Duration::ZERO);
    let hanging = world.zoho.register_many("hanging", 60);
    let healthy = world.zoho.register_many("healthy", 5);
    let first = world.operator();
    for (number, credential) in healthy.iter().enumerate() {
        world.source_of(&format!("s{number}"), credential).await;
        world.credential(&format!("c{number}"), &format!("s{number}"), json!({})).await;
    }
    for number in 0..5 {
        world.wait_ready(&format!("c{number}")).await;
    }
    first.kill();
    for (number, credential) in hanging.iter().enumerate() {
        world.zoho.script_for(&credential.refresh_token, Script::until_cleared(Reply::MintThenHold));
        world.source_of(&format!("h{number}"), credential).await;
        world.credential(&format!("h{number}"), &format!("h{number}"), json!({})).await;
    }
    // They are asked for all at once, so that none has given up when the last one is sent.
    let _operator = world.operator();
    eventually("all of them hang", async || (world.zoho.stats().token.max_in_flight >= 60).then_some(())).await;
    // The fifteen seconds of the first one are running: a renewal takes fewer writes than a new credential.
    let started = Instant::now();
    let asked = json!({ "metadata": { "annotations": { (keys::RENEW_REQUESTED): "now" } } });
    let asked = async |number| world.patch(&format!("c{number}"), asked.clone()).await;
    futures::future::join_all((0..5).map(asked)).await;
    for credential in &healthy {
        world.zoho.wait_for_posts_of(&credential.refresh_token, 2, DEADLINE).await.expect("it is renewed");
    }
    crate::support::tell(&format!("renewed {:.1} s beside sixty that hang", started.elapsed().as_secs_f64()));
    // Beside all sixty: nobody got the place of one that had given up after fifteen seconds.
    let most = world.zoho.stats().token.max_in_flight;
    assert!(most > 60, "{most} requests at once at most");
    world.zoho.clear_scripts();
    world.zoho.release();
}

#[tokio::test]
async fn while_the_api_server_is_down_nothing_is_minted_and_35_seconds_after_it_is_back_all_is_well() {
    let world = World::alone("api_server_down").await;
    let observer = world.observer();
    world.good_source("source").await;
    let operator = world.operator();
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    let token = world.token("one-token").await;
    world.cluster.stop_apiserver().expect("stopped");
    // Long due for renewal; it has two minutes left.
    world.advance(3480);
    eventually("the operator notices", async || operator.log().contains("watch failed").then_some(())).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.zoho.stats().token.posts, 1, "nothing is minted without the ledger");
    world.cluster.start_apiserver().await.expect("started");
    let took = within(Duration::from_secs(35), "renewed", async || {
        let now = world.secrets().get_opt("one-token").await.ok().flatten();
        now.is_some_and(|now| Some(crate::support::look::text(&now, "access_token")) != token)
    })
    .await;
    crate::support::tell(&format!("renewed {:.1} s after the API server was back", took.as_secs_f64()));
    assert_eq!(world.zoho.stats().token.posts, 2);
    // What happens now is noticed by a watch, not by a due time.
    world.delete_secret("one-token").await;
    within(Duration::from_secs(35), "put back", async || world.secret("one-token").await.is_some()).await;
    assert_eq!(observer.expired_token_time(), Duration::ZERO);
}

#[tokio::test]
async fn etcd_restored_to_an_older_revision_does_not_leave_the_operator_deaf() {
    let world = World::alone("etcd_restored").await;
    world.good_source("source").await;
    let operator = world.operator();
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    world.cluster.save_etcd().await.expect("saved");
    // What the backup does not have, at a revision far beyond it, which the operator has been told of.
    for round in 0..300 {
        world.source("busy", &[("round", &round.to_string())]).await;
    }
    world.good_source("later").await;
    world.credential("lost", "later", json!({})).await;
    world.wait_ready("lost").await;
    eventually("the operator knows", async || world.secret("lost-token").await).await;
    world.cluster.restore_etcd().await.expect("restored");
    assert!(world.secrets().get_opt("lost-token").await.expect("readable").is_none(), "history went back");
    world.good_source("source").await;
    let credential = json!({ "spec": { "target": { "labels": { "since": "then" } } } });
    world.patch("one", credential).await;
    let took = within(Duration::from_secs(40), "what happens since is seen", async || {
        let secret = world.secret("one-token").await;
        secret.is_some_and(|secret| secret.metadata.labels.unwrap_or_default().contains_key("since"))
    })
    .await;
    crate::support::tell(&format!("heard {:.1} s after etcd was restored", took.as_secs_f64()));
    world.credential("lost", "source", json!({})).await;
    world.wait_ready("lost").await;
    world.delete_secret("one-token").await;
    within(Duration::from_secs(40), "put back", async || world.secret("one-token").await.is_some()).await;
    assert!(operator.log().contains("history went back"), "{}", operator.log());
}

#[tokio::test]
#[ignore = "waits for two minutes"]
async fn by_get_a_former_target_is_deleted_when_its_token_has_expired() {
    let world = World::new("by_get_former").await;
    world.good_source("source").await;
    let operator = world.operator_with(&["--secret-access=get"]);
    operator.synced().await;
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    world.patch("one", json!({ "spec": { "target": { "name": "renamed" } } })).await;
    world
        .wait("one", "renamed", |seen| {
            seen.status.as_ref().and_then(|status| status.target.as_deref()) == Some("renamed")
        })
        .await;
    // Two rounds of reading in which nobody names the former one.
    tokio::time::sleep(Duration::from_secs(125)).await;
    assert!(world.secret("one-token").await.is_some(), "pods that mount it go on working");
    world.advance(3601);
    within(Duration::from_secs(65), "deleted", async || world.secret("one-token").await.is_none()).await;
}
