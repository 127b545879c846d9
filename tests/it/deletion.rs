//! Credentials that go: at once, whatever is wrong with them, and with nothing of ours left behind or in the way.

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use zoho_simulator::script::{Reply, Script};
use zoho_simulator::{Simulator, SimulatorConfig};
use zoho_testkit::fault_proxy::{Record, Verb};

use crate::support::eventually;
use crate::support::look::is;
use crate::support::world::World;
use zoho_api::ConditionType;

/// Deletes a credential; it has to be gone when that is answered.
async fn goes_at_once(world: &World, name: &str) {
    let seen = world.get(name).await;
    assert_eq!(seen.metadata.finalizers, None, "{name}");
    world.credentials().delete(name, &DeleteParams::default()).await.expect("deleted");
    assert!(world.credentials().get_opt(name).await.expect("an answer").is_none(), "{name} is still there");
}

#[tokio::test]
async fn credential_goes_at_once_whatever_is_wrong_with_it() {
    let world = World::new("goes_at_once").await;
    let config = SimulatorConfig { tls_names: vec!["127.0.0.1".to_owned()], ..SimulatorConfig::default() };
    let stranger = Simulator::start(config);
    let operator = world.operator_with(&["--accounts-url", &format!("EU={}", stranger.url())]);
    let names = ["hangs", "fails", "untrusted", "no-source", "absent"];
    let credentials = world.zoho.register_many("goes", names.len());
    for (name, credential) in names.iter().zip(&credentials) {
        let script = match *name {
            "hangs" => Some(Reply::MintThenHold),
            "fails" => Some(Reply::html(500, "<h1>sorry</h1>")),
            _ => None,
        };
        if let Some(reply) = script {
            world.zoho.script_for(&credential.refresh_token, Script::until_cleared(reply));
        }
        world.source_of(&format!("{name}-source"), credential).await;
        let data_center = if *name == "untrusted" { "EU" } else { "US" };
        world.credential(name, &format!("{name}-source"), json!({ "dataCenter": data_center })).await;
    }
    world.zoho.wait_for_posts_of(&credentials[0].refresh_token, 1, Duration::from_secs(60)).await.expect("it hangs");
    world.wait_for_reason("fails", "UpstreamUnavailable").await;
    world.wait_for_reason("untrusted", "UpstreamTLS").await;
    world.wait_ready("no-source").await;
    world.wait_ready("absent").await;
    world.delete_secret("no-source-source").await;
    let has_none = |seen: &_| is(seen, ConditionType::Renewable, "SourceSecretNotFound");
    world.wait("no-source", "it has no source", has_none).await;
    for name in &names[..4] {
        goes_at_once(&world, name).await;
    }
    operator.kill();
    goes_at_once(&world, "absent").await;
    let _next = world.operator();
    world.zoho.clear_scripts();
    world.zoho.release();
    for name in names {
        let target = format!("{name}-token");
        eventually("the target is collected", async || world.secret(&target).await.is_none().then_some(())).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for name in names {
        assert!(world.secret(&format!("{name}-token")).await.is_none(), "{name}: the token goes nowhere");
    }
}

#[tokio::test]
async fn credential_that_a_terminating_namespace_keeps_costs_no_mint_and_no_call() {
    const WATCHED: Duration = Duration::from_secs(8);
    let world = World::new("terminating").await;
    let proxy = world.proxy();
    let _operator = world.operator_behind(&proxy, &[]);
    world.serve_one().await;
    // Somebody else's finalizer keeps it there.
    world.patch("one", json!({ "metadata": { "finalizers": ["example.com/hold"] } })).await;
    let delete = ["delete", "namespace", &world.namespace, "--wait=false"];
    assert!(world.cluster.kubectl(&delete).await.expect("runs").status.success());
    eventually("the namespace is emptied but for it", async || {
        let is_deleting = world.get("one").await.metadata.deletion_timestamp.is_some();
        (is_deleting && world.secret("one-token").await.is_none()).then_some(())
    })
    .await;
    let is_call = |record: &&Record| ![Verb::Watch, Verb::List].contains(&record.call.verb);
    eventually("what its end brought is over", async || {
        let (now, trace) = (proxy.started().elapsed(), proxy.trace());
        trace.iter().rfind(is_call).is_none_or(|last| last.at + Duration::from_secs(3) < now).then_some(())
    })
    .await;
    // Due for renewal, and then expired.
    let before = proxy.trace().len();
    world.advance(2200);
    tokio::time::sleep(WATCHED / 2).await;
    world.advance(2200);
    tokio::time::sleep(WATCHED / 2).await;
    let calls = proxy.trace()[before..].iter().filter(is_call).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(calls, Vec::<String>::new(), "in {WATCHED:?}");
    assert_eq!(world.zoho.stats().token.posts, 1);
    let finalizers = world.get("one").await.metadata.finalizers;
    assert_eq!(finalizers, Some(vec!["example.com/hold".to_owned()]), "none is added");
    world.patch("one", json!({ "metadata": { "finalizers": null } })).await;
    eventually("it goes", async || {
        world.credentials().get_opt("one").await.expect("an answer").is_none().then_some(())
    })
    .await;
}
