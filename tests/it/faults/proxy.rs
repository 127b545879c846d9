//! The proxy itself: without rules nobody notices it; with rules exactly what they say happens.

use std::time::Duration;

use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use zoho_api::ZohoCredential;
use zoho_testkit::fault_proxy::{Action, Answer, FaultProxy, FrameAction, METADATA_LIST, Match, Point, Verb, Window};

use crate::support::eventually;
use crate::support::world::World;

async fn client_behind(proxy: &FaultProxy) -> Client {
    let kubeconfig = Kubeconfig::read_from(proxy.kubeconfig()).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

#[tokio::test]
async fn proxy_passes_everything() {
    let world = World::new("proxy_passes").await;
    let proxy = world.proxy();
    let observer = world.observer();
    // A first mint that takes two seconds is told of by a status of its own; while the clock stands still none does.
    world.stop_clock();
    let operator = world.operator_behind(&proxy, &[]);
    operator.synced().await;
    world.serve_one().await;
    world.advance(0);
    // What comes by a watch comes through too.
    world.delete_secret("one-token").await;
    eventually("the target is back", async || world.secret("one-token").await).await;
    eventually("the observer sees it made, deleted, made", async || {
        let versions = observer.versions();
        let of_target = versions.iter().filter(|version| version.expires_at().is_some()).count();
        (of_target >= 3 && observer.targets() == 1).then_some(())
    })
    .await;
    assert_eq!(observer.expired_token_time(), Duration::ZERO);
    let trace = proxy.trace();
    let writes: Vec<String> = trace
        .iter()
        .filter(|record| record.call.verb.is_write() && !record.call.is_dry_run && record.call.resource != "events")
        .map(|record| format!("{} {} {:?}", record.call.verb, record.call.resource, record.status))
        .collect();
    assert_eq!(
        writes[1..5],
        [
            "patch zohocredentials Some(200)",
            "create zohomintledgers Some(201)",
            "create secrets Some(201)",
            "patch zohocredentials Some(200)",
        ],
        "the hash key comes first, then claim, reserve, store, report\n{}",
        proxy.transcript()
    );
    for resource in ["secrets", "zohocredentials", "zohomintledgers"] {
        let watched = |record: &&zoho_testkit::fault_proxy::Record| {
            record.call.verb == Verb::Watch && record.call.resource == resource
        };
        assert_eq!(trace.iter().filter(watched).count(), 1, "one watch of {resource}\n{}", proxy.transcript());
    }
    assert!(trace.iter().all(|record| record.fault.is_empty()));
}

#[tokio::test]
async fn rules_do_what_they_say() {
    let world = World::new("proxy_rules").await;
    let proxy = FaultProxy::start(&world.cluster.kubeconfig_path()).expect("a fault proxy");
    let credentials: Api<ZohoCredential> = Api::namespaced(client_behind(&proxy).await, &world.namespace);
    world.good_source("source").await;
    world.credential("one", "source", json!({ "suspend": true })).await;
    let object = |name: &str| -> ZohoCredential {
        let mut object = ZohoCredential::new(name, world_spec());
        object.metadata.name = Some(name.to_owned());
        object
    };
    let list = async || credentials.list(&ListParams::default()).await;
    let on = || Match::new(Verb::List, "zohocredentials").namespace(&world.namespace);

    proxy.rule(on(), Window::ONCE, Action::Answer(Answer::gone()));
    assert!(matches!(list().await, Err(kube::Error::Api(status)) if status.code == 410));
    for action in [Action::Drop, Action::Reset] {
        proxy.rule(on(), Window::ONCE, action.clone());
        assert!(matches!(list().await, Err(error) if !matches!(error, kube::Error::Api(_))), "{action}");
    }
    proxy.clear();
    for action in
        [Action::Delay(Duration::from_millis(300)), Action::Drip { bytes: 64, every: Duration::from_millis(5) }]
    {
        proxy.rule(on(), Window::ONCE, action.clone());
        let started = std::time::Instant::now();
        assert_eq!(list().await.expect("it is only late").items.len(), 1, "{action}");
        assert!(started.elapsed() > Duration::from_millis(50), "{action}");
    }
    let hung = proxy.rule(on(), Window::ALWAYS, Action::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(500), list()).await.is_err());
    proxy.remove(hung);
    assert_eq!(list().await.expect("it goes on").items.len(), 1);

    let path = format!("/apis/zoho-operator.dev/v1alpha1/namespaces/{}/zohocredentials?", world.namespace);
    let old = proxy.capture(&path, "application/json").await.expect("an answer");
    let on_create = || Match::new(Verb::Create, "zohocredentials");
    proxy.rule(on_create(), Window::ONCE, Action::Swallow);
    credentials.create(&PostParams::default(), &object("two")).await.expect_err("the answer is lost");
    assert!(world.credentials().get_opt("two").await.expect("readable").is_some(), "it is carried out");
    proxy.rule(on(), Window::ONCE, Action::Answer(old));
    assert_eq!(list().await.expect("an old answer").items.len(), 1);
    assert_eq!(list().await.expect("a new answer").items.len(), 2);
    proxy.clear();

    for (point, name, is_there) in [(Point::Arrived, "three", false), (Point::Applied, "four", true)] {
        let mut breakpoint = proxy.breakpoint(on_create(), Window::ONCE, point);
        let (params, object) = (PostParams::default(), object(name));
        let create = credentials.create(&params, &object);
        let look = async {
            let stopped = breakpoint.reached().await.expect("it stops");
            assert_eq!(stopped.call.resource, "zohocredentials");
            assert_eq!(world.credentials().get_opt(name).await.expect("readable").is_some(), is_there, "{point:?}");
            stopped.go_on();
        };
        let (created, ()) = tokio::join!(create, look);
        created.expect("it goes on");
        proxy.clear();
    }
    let mut breakpoint = proxy.breakpoint(on_create(), Window::ONCE, Point::Answered);
    credentials.create(&PostParams::default(), &object("five")).await.expect("it is answered");
    let stopped = breakpoint.reached().await.expect("it stops");
    assert!(tokio::time::timeout(Duration::from_millis(500), list()).await.is_err(), "nothing more is let in");
    stopped.go_on();
    assert_eq!(list().await.expect("it goes on").items.len(), 5);
    assert!(proxy.transcript().contains("** Swallow"), "{}", proxy.transcript());
    proxy
        .capture(&format!("/api/v1/namespaces/{}/secrets?limit=500", world.namespace), METADATA_LIST)
        .await
        .expect("a list");
}

fn world_spec() -> zoho_api::ZohoCredentialSpec {
    serde_json::from_value(json!({ "dataCenter": "US", "secretRef": { "name": "source" }, "suspend": true }))
        .expect("a spec")
}

#[tokio::test]
async fn frames_are_held_dropped_and_replaced() {
    use futures::StreamExt as _;
    use kube::api::{WatchEvent, WatchParams};
    let world = World::new("proxy_frames").await;
    let proxy = FaultProxy::start(&world.cluster.kubeconfig_path()).expect("a fault proxy");
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(client_behind(&proxy).await, &world.namespace);
    let on = || Match::new(Verb::Watch, "secrets").namespace(&world.namespace);
    let version = secrets.list(&ListParams::default()).await.expect("a list").metadata.resource_version.expect("one");
    let mut events = secrets.watch(&WatchParams::default().timeout(60), &version).await.expect("a watch").boxed();
    let next = async |events: &mut futures::stream::BoxStream<'static, kube::Result<WatchEvent<_>>>, within: u64| {
        let event = tokio::time::timeout(Duration::from_millis(within), events.next()).await.ok()?;
        Some(match event.expect("the stream is open").expect("an event") {
            WatchEvent::Added(secret) => {
                let secret: k8s_openapi::api::core::v1::Secret = secret;
                secret.metadata.name.unwrap_or_default()
            }
            WatchEvent::Error(status) => status.code.to_string(),
            WatchEvent::Modified(_) | WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => "another event".to_owned(),
        })
    };
    proxy.frames(on().name("left-out"), Window::ALWAYS, FrameAction::Drop);
    world.good_source("left-out").await;
    world.good_source("first").await;
    assert_eq!(next(&mut events, 60_000).await.as_deref(), Some("first"));
    let held = proxy.frames(on(), Window::ALWAYS, FrameAction::Hold);
    world.good_source("second").await;
    assert_eq!(next(&mut events, 500).await, None);
    proxy.remove_frames(held);
    assert_eq!(next(&mut events, 60_000).await.as_deref(), Some("second"));
    proxy.frames(on(), Window::ONCE, FrameAction::Gone);
    world.good_source("third").await;
    assert_eq!(next(&mut events, 60_000).await.as_deref(), Some("410"));
}
