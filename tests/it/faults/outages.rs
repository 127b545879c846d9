//! The API server goes at a write, and comes back; a kind goes, and comes back.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use zoho_api::{ZohoCredential, crd};
use zoho_testkit::fault_proxy::{Action, Match, Point, Verb, Window};

use crate::metrics::{address, get};
use crate::support::look::is_ready;
use crate::support::operator::Operator;
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, tell};

/// What a token has left when an outage is over: the leap of the clock for an attempt of unknown outcome, the 35 seconds in which
/// all must be well, and the start of an API server on a slow machine.
const SPARE: i64 = 31 + 35 + 40;

/// A write of a renewal, on which side of it the API server goes, and for how many seconds.
fn places() -> [(&'static str, Match, Point, u64); 6] {
    let ledger = || Match::new(Verb::Update, "zohomintledgers");
    let target = || Match::new(Verb::Patch, "secrets").dry_run(false);
    let status = || Match::any().subresource("status");
    [
        ("before the reservation", ledger(), Point::Arrived, 1),
        ("after the reservation", ledger(), Point::Applied, 10),
        ("before the Secret", target(), Point::Arrived, 60),
        ("after the Secret", target(), Point::Applied, 10),
        ("before the status", status(), Point::Arrived, 1),
        ("after the status", status(), Point::Applied, 1),
    ]
}

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn api_server_that_goes_at_a_write_of_a_renewal_costs_one_mint_at_most_and_no_token() {
    let world = World::alone("goes_at_a_write").await;
    let (proxy, observer) = (world.proxy(), world.observer());
    let operator = world.operator_behind(&proxy, &[]);
    operator.synced().await;
    world.serve_one().await;
    for (place, on, point, seconds) in places() {
        let before = world.zoho.stats().token.posts;
        let expires = world.get("one").await.status.and_then(|status| status.expiration_time);
        let mut breakpoint = proxy.breakpoint(on, Window::ONCE, point);
        world.advance(2000);
        let stopped = breakpoint.reached().await.expect("the renewal comes to that write");
        world.cluster.stop_apiserver().expect("stopped");
        stopped.go_on();
        let at_the_stop = world.zoho.stats().token.posts;
        // The former token lives for as long as the outage and what comes after it may take, and not much longer.
        let left = expires.expect("a token").unix() - world.zoho.now().as_second();
        world.advance(left - i64::try_from(seconds).expect("few") - SPARE);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let posts = world.zoho.stats().token.posts;
        assert!(
            posts - at_the_stop <= u64::from(place == "after the reservation"),
            "{place}: minted without the ledger"
        );
        world.cluster.start_apiserver().await.expect("started");
        let back = Instant::now();
        // An attempt of unknown outcome is waited for by the wall clock.
        world.advance(31);
        let is_renewed = |seen: &ZohoCredential| {
            is_ready(seen) && seen.status.as_ref().and_then(|status| status.expiration_time) > expires
        };
        world.wait("one", place, is_renewed).await;
        let took = back.elapsed();
        tell(&format!("gone for {seconds} s {place}: renewed {:.1} s after it was back", took.as_secs_f32()));
        assert!(took < Duration::from_secs(35), "{place}: {took:?}");
        let posts = world.zoho.stats().token.posts - before;
        assert!((1..=2).contains(&posts), "{place}: {posts} requests\n{}", proxy.transcript());
        proxy.clear();
    }
    assert_eq!(observer.expired_token_time(), Duration::ZERO);
    assert_eq!(world.zoho.stats().token.evictions, 0);
    assert!(world.zoho.max_alive_seen(REFRESH_TOKEN) <= 7);
}

#[tokio::test]
async fn operator_that_starts_without_an_api_server_waits_for_it_and_can_be_stopped() {
    let world = World::new("starts_without").await;
    let proxy = world.proxy();
    let gone = proxy.rule(Match::any(), Window::ALWAYS, Action::Drop);
    let (waiting, stopped) = (world.operator_behind(&proxy, &[]), world.operator_behind(&proxy, &[]));
    let waits = async |operator: &Operator| operator.log().matches("does not answer yet").count() >= 4;
    for operator in [&waiting, &stopped] {
        eventually("it waits", async || waits(operator).await.then_some(())).await;
    }
    let health = address(&waiting, "health").await;
    assert!(get(&health, "/livez", "*/*").await.0.contains("200"), "it is well, and nobody is to start it again");
    assert!(get(&health, "/readyz", "*/*").await.0.contains("503"), "it does nothing yet");
    let (code, took) = stopped.terminate().await;
    assert_eq!(code, Some(0));
    // The pause that it does not wait for is eight seconds.
    assert!(took < Duration::from_secs(7), "{took:?}");
    proxy.remove(gone);
    waiting.synced().await;
    world.serve_one().await;
}

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn kind_that_is_gone_for_a_minute_ends_no_process_and_is_served_again() {
    let world = World::alone("kind_gone").await;
    let mut operator = world.operator();
    world.serve_one().await;
    // Kubernetes deletes what is owned only by kinds that it has noticed, which takes half a minute for a new one.
    world.credential("other", "source", json!({})).await;
    world.wait_ready("other").await;
    world.credentials().delete("other", &DeleteParams::default()).await.expect("deleted");
    eventually("owners of the kind are known", async || world.secret("other-token").await.is_none().then_some(()))
        .await;
    let delete = ["delete", "crd", "zohocredentials.zoho-operator.dev"];
    assert!(world.cluster.kubectl(&delete).await.expect("runs").status.success());
    eventually("the target goes with its credential", async || world.secret("one-token").await.is_none().then_some(()))
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(operator.has_ended().is_none(), "{}", operator.log());
    let (_, yaml) = crd::files().into_iter().find(|(name, _)| name.contains("credential")).expect("its file");
    world.cluster.apply_yaml(&yaml).await.expect("applied");
    let object = World::object("one", "source", &json!({}));
    let started = Instant::now();
    eventually("it can be created", async || world.credentials().create(&PostParams::default(), &object).await.ok())
        .await;
    world.wait_ready("one").await;
    tell(&format!("served {:.1} s after the kind was back", started.elapsed().as_secs_f32()));
    assert!(operator.has_ended().is_none());
    assert!(world.zoho.stats().token.posts <= 2);
}

/// Takes every rule out of a schema.
fn without_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.remove("enum");
            fields.values_mut().for_each(without_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rules),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn what_a_schema_without_rules_lets_through_is_refused_by_the_operator() {
    let world = World::alone("without_rules").await;
    let mut definition = serde_json::to_value(crd::zoho_credential()).expect("JSON");
    without_rules(&mut definition);
    let replaced = world.cluster.kubectl_stdin(&["replace", "-f", "-"], &definition.to_string()).await.expect("runs");
    assert!(replaced.status.success(), "{}", String::from_utf8_lossy(&replaced.stderr));
    world.good_source("source").await;
    let rows = [
        ("itself", json!({ "target": { "name": "source" } })),
        ("two-issuers", json!({ "endpointCentralServer": { "url": "https://ec.corp.example" } })),
        ("no-issuer", json!({ "dataCenter": null })),
        ("other", json!({ "dataCenter": "Other" })),
        ("reserved", json!({ "target": { "labels": { "zoho-operator.dev/x": "y" } } })),
        ("in-the-clear", json!({ "apiUrl": "http://desk.corp.example" })),
        ("path", json!({ "verify": { "path": "/../x", "interval": "5m" }, "apiUrl": "https://desk.zoho.com" })),
    ];
    for (name, edit) in &rows {
        let object = World::object(name, "source", edit);
        eventually("the rules are gone", async || {
            world.credentials().create(&PostParams::default(), &object).await.ok()
        })
        .await;
    }
    // These do not fit the types, and the first one fits those of the installation that serves it.
    for name in ["elsewhere", "unreadable"] {
        let mut object = json!(World::object(name, "source", &json!({})));
        object["metadata"]["namespace"] = json!(world.namespace);
        object["spec"]["dataCenter"] = json!("Mars");
        world.cluster.apply_yaml(&object.to_string()).await.expect("applied");
    }
    let kubectl = async |args: &[&str]| {
        let output = world.cluster.kubectl(&[args, &["-n", &world.namespace]].concat()).await.expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let served_by = r#"{ "status": { "servedBy": "newer/zoho-operator" } }"#;
    kubectl(&["patch", "zcred", "elsewhere", "--subresource=status", "--type=merge", "-p", served_by]).await;

    let _operator = world.operator();
    for (name, _) in &rows {
        world.wait_for_reason(name, "InvalidSpec").await;
    }
    let reasons =
        async |name: &str| kubectl(&["get", "zcred", name, "-o", "jsonpath={.status.conditions[*].reason}"]).await;
    eventually("it is said that it does not fit", async || {
        reasons("unreadable").await.contains("InvalidSpec").then_some(())
    })
    .await;
    assert_eq!(reasons("elsewhere").await, "", "what another installation serves is not written to");
    assert_eq!(world.zoho.stats().token.posts, 0);
}
