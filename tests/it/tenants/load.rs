//! What one tenant may do to the operator that serves all: not fatten it, and not delay the others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use zoho_api::ZohoCredential;
use zoho_simulator::Credential;
use zoho_testkit::fault_proxy::{Action, Match, Verb, Window};

use super::Tenant;
use crate::support::operator::Operator;
use crate::support::world::World;
use crate::support::{eventually, tell, untested};

/// The most memory that a process has ever had, in MiB.
fn peak(operator: &Operator) -> Option<f64> {
    operator.memory("VmHWM:")
}

/// Waits until the operator has seen what happened to Secrets so far: a watch tells changes in their order, and what it
/// makes anew it has seen go.
async fn has_seen_everything(world: &World) {
    let uid = |secret: Secret| secret.metadata.uid;
    let before = world.secret("one-token").await.and_then(uid);
    world.delete_secret("one-token").await;
    eventually("the target is made anew", async || {
        world.secret("one-token").await.and_then(uid).filter(|now| Some(now) != before.as_ref())
    })
    .await;
}

/// Metadata as anybody may write it, with so many bytes of uid.
fn fat(number: usize, bytes: usize) -> Value {
    // Of a kind that nobody serves: the garbage collector leaves it alone.
    let owner =
        json!({ "apiVersion": "example.com/v1", "kind": "Nothing", "name": "nobody", "uid": "x".repeat(bytes) });
    json!({ "name": format!("fat-{number}"), "ownerReferences": [owner] })
}

/// Starts an operator, makes fat objects, eight at a time, and starts another one, which lists them. The first has needed at
/// most `most` MiB more than one without them, the second 10 MiB.
async fn nobody_is_fattened(what: &str, count: usize, most: f64, create: impl AsyncFn(&World, usize)) {
    let world = World::alone("fat").await;
    let operator = world.operator();
    world.serve_one().await;
    operator.kill();
    let operator = world.operator();
    operator.synced().await;
    has_seen_everything(&world).await;
    let Some(plain) = peak(&operator) else {
        return untested("how much memory the operator takes", "there is no /proc/PID/status");
    };
    futures::stream::iter(0..count).for_each_concurrent(8, async |number| create(&world, number).await).await;
    has_seen_everything(&world).await;
    let watched = peak(&operator).expect("it runs");
    operator.kill();
    let operator = world.operator();
    operator.synced().await;
    has_seen_everything(&world).await;
    let listed = peak(&operator).expect("it runs");
    tell(&format!("peak memory: {plain:.1} MiB; while {count} {what} come {watched:.1}; listed {listed:.1}"));
    assert!(watched - plain <= most && listed - plain <= 10.0, "{plain:.1} MiB, then {watched:.1} and {listed:.1}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_with_hostile_metadata_do_not_fatten_the_operator() {
    nobody_is_fattened("Secrets of 1.2 MB", 130, 10.0, async |world, number| {
        let secret = serde_json::from_value(json!({ "metadata": fat(number, 1_200_000) })).expect("a Secret");
        world.secrets().create(&PostParams::default(), &secret).await.expect("the API server takes it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_with_hostile_metadata_do_not_fatten_the_operator() {
    // Passes side by side write status, and the answer is the whole object: kube holds its text up to three times.
    nobody_is_fattened("ZohoCredentials of 1.2 MB", 60, 8.0 * 3.0 * 1.2, async |world, number| {
        let spec = json!({ "dataCenter": "US", "secretRef": { "name": "none" } });
        let credential = json!({ "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential",
            "metadata": fat(number, 1_200_000), "spec": spec });
        let credential = serde_json::from_value(credential).expect("a credential");
        world.credentials().create(&PostParams::default(), &credential).await.expect("the API server takes it");
        world.wait_for_reason(&format!("fat-{number}"), "SourceSecretNotFound").await;
    })
    .await;
}

/// Credentials of the tenant that makes the load.
const HOGS: usize = 300;
/// Credentials that the bystander creates.
const NEW: usize = 20;
/// How long the operator waits for the API server's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Another tenant beside the one of [`World::namespace`].
struct Bystander {
    namespace: String,
    secrets: Api<Secret>,
    credentials: Api<ZohoCredential>,
}

impl Bystander {
    async fn new(world: &World) -> Self {
        let namespace = world.cluster.namespace("bystander").await;
        let (secrets, credentials) =
            (Api::namespaced(world.client.clone(), &namespace), Api::namespaced(world.client.clone(), &namespace));
        Self { namespace, secrets, credentials }
    }

    /// Creates credentials one after another; returns how long each waited for its target, the shortest wait first. None waits
    /// until the operator gives up an answer that does not come, and a slow moment of the machine is not one of most.
    async fn waits(&self, registered: &[Credential]) -> Vec<Duration> {
        let mut waits = Vec::new();
        for (number, Credential { client_id, client_secret, refresh_token }) in registered.iter().enumerate() {
            let name = format!("new-{number}");
            let data =
                json!({ "client_id": client_id, "client_secret": client_secret, "refresh_token": refresh_token });
            let source = json!({ "metadata": { "name": format!("{name}-source") }, "stringData": data });
            let source = serde_json::from_value(source).expect("a Secret");
            self.secrets.create(&PostParams::default(), &source).await.expect("the source is created");
            let spec = json!({ "dataCenter": "US", "secretRef": { "name": format!("{name}-source") } });
            let credential = json!({ "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential",
                "metadata": { "name": name }, "spec": spec });
            let credential = serde_json::from_value(credential).expect("a credential");
            let started = Instant::now();
            self.credentials.create(&PostParams::default(), &credential).await.expect("the credential is created");
            eventually("the target is there", async || {
                self.secrets.get_metadata_opt(&format!("{name}-token")).await.expect("it can be read").map(drop)
            })
            .await;
            waits.push(started.elapsed());
        }
        waits.sort_unstable();
        let (most, longest) = (waits[waits.len() * 3 / 4], waits[waits.len() - 1]);
        assert!(most < ANSWER_WITHIN / 2 && longest < ANSWER_WITHIN, "{waits:?}");
        waits
    }
}

/// Changes a label of the tenant's source again and again, and counts how often.
async fn touch(world: &World, touches: &AtomicUsize) -> ! {
    loop {
        let number = touches.fetch_add(1, Ordering::Relaxed);
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "touched": number.to_string() } } }));
        let patched = world.secrets().patch_metadata("source", &PatchParams::default(), &patch).await;
        patched.expect("the label is changed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_with_hundreds_of_credentials_on_one_restless_source_delays_no_other() {
    let world = World::new("hog").await;
    let bystander = Bystander::new(&world).await;
    let namespaces = format!("{},{}", world.namespace, bystander.namespace);
    let proxy = world.proxy();
    let args = ["--watch-namespaces", &namespaces, "--log-filter", "zoho_operator=info"];
    let _operator = world.operator_behind(&proxy, &args);
    world.good_source("source").await;
    let create = async |number: usize| drop(world.credential(&format!("hog-{number}"), "source", json!({})).await);
    futures::stream::iter(0..HOGS).for_each_concurrent(8, create).await;
    for number in 0..HOGS {
        world.wait_ready(&format!("hog-{number}")).await;
    }
    // Each touch wakes all of them, and what they ask for is never answered: who waits behind them waits for ten seconds.
    let hung = proxy.rule(Match::new(Verb::Get, "secrets").name("source"), Window::ALWAYS, Action::Hang);
    let touches = AtomicUsize::new(0);
    let started = Instant::now();
    let waits = tokio::select! {
        () = touch(&world, &touches) => unreachable!("it goes on"),
        waits = async {
            eventually("the tenant waits", async || (proxy.seen(hung) > 0).then_some(())).await;
            bystander.waits(&world.zoho.register_many("bystander", NEW)).await
        } => waits,
    };
    let (reads, took) = (proxy.seen(hung), started.elapsed());
    tell(&format!("{} touches and {reads} reads in {took:?}: waited {waits:?}", touches.into_inner()));
    let one_after_another = 2 + took.as_secs() / ANSWER_WITHIN.as_secs();
    assert!(reads as u64 <= one_after_another, "{reads} reads of one Secret in {took:?}");
}

/// Each of them has an Event, and so many are published only in a minute.
const LOUD: usize = 200;

#[tokio::test]
async fn tenant_whose_objects_have_much_to_tell_delays_no_events_of_others() {
    let world = World::new("loud").await;
    let loud = Tenant::new(&world, "loud").await;
    let proxy = world.proxy();
    let slow =
        proxy.rule(Match::new(Verb::Create, "events"), Window::ALWAYS, Action::Delay(Duration::from_millis(300)));
    let namespaces = format!("{},{}", world.namespace, loud.namespace);
    let _operator = world.operator_behind(&proxy, &["--watch-namespaces", &namespaces]);
    let spec = json!({ "dataCenter": "US", "secretRef": { "name": "nowhere" } });
    let create = async |number: usize| loud.credential(&format!("loud-{number}"), spec.clone()).await;
    futures::stream::iter(0..LOUD).for_each_concurrent(8, create).await;
    for number in 0..LOUD {
        loud.wait_for(&format!("loud-{number}"), &["SourceSecretNotFound"]).await;
    }
    world.serve_one().await;
    let before = proxy.seen(slow);
    eventually("its Event is there", async || (!world.events_of("one").await.is_empty()).then_some(())).await;
    let between = proxy.seen(slow) - before;
    tell(&format!("{before} of {LOUD} Events were published when the other's came up, and {between} before it was"));
    assert!(between < 15, "{between} Events went before it");
    assert!(before + 30 < LOUD, "{before} of {LOUD} were published already: no line stood before it");
}

#[tokio::test]
async fn secret_with_managed_fields_nested_without_end_makes_nobody_deaf() {
    let (world, operator) = World::served("nested_fields").await;
    let nested = (0..300).fold("{}".to_owned(), |inner, _| format!(r#"{{"f:x":{inner}}}"#));
    let secret = format!(
        r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"nested","namespace":"{}","managedFields":[{{"manager":"x",
            "operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{nested}}}]}}}}"#,
        world.namespace
    );
    let created = world.cluster.kubectl_stdin(&["create", "-f", "-"], &secret).await.expect("runs");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let get = ["get", "secret", "nested", "-n", &world.namespace, "-o", "json", "--show-managed-fields"];
    let stored = world.cluster.kubectl(&get).await.expect("runs").stdout;
    let depth = String::from_utf8_lossy(&stored).matches("f:x").count();
    assert!(depth >= 300, "the API server has kept {depth} levels");
    let is_heard = async || {
        world.delete_secret("one-token").await;
        eventually("the target is put back", async || world.secret("one-token").await).await;
    };
    is_heard().await;
    operator.kill();
    let restarted = world.operator();
    restarted.synced().await;
    is_heard().await;
    world.delete_secret("nested").await;
}
