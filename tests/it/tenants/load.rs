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
use zoho_testkit::control_plane::{AuditEntry, Identity};

use crate::support::operator::Operator;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};
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
/// Credentials that the bystander creates in each phase.
const NEW: usize = 20;

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

    /// Creates credentials one after another; returns how long each waited for its target, shortest first.
    async fn waits(&self, phase: &str, registered: &[Credential]) -> Vec<Duration> {
        let mut waits = Vec::new();
        for (number, Credential { client_id, client_secret, refresh_token }) in registered.iter().enumerate() {
            let name = format!("{phase}-{number}");
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
        waits.sort();
        waits
    }
}

/// Changes a label of the tenant's source again and again, for half a minute at most, and counts how often.
async fn touch(world: &World, touches: &AtomicUsize) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        let number = touches.fetch_add(1, Ordering::Relaxed);
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "touched": number.to_string() } } }));
        let patched = world.secrets().patch_metadata("source", &PatchParams::default(), &patch).await;
        patched.expect("the label is changed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn reads_of_source(world: &World) -> usize {
    let is_read = |entry: &AuditEntry| {
        entry.user == Identity::Operator.user()
            && (&*entry.verb, &*entry.resource, &*entry.name) == ("get", "secrets", "source")
    };
    world.audited(is_read).len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_with_hundreds_of_credentials_on_one_restless_source_delays_no_other() {
    let world = World::alone("hog").await;
    let bystander = Bystander::new(&world).await;
    let namespaces = format!("{},{}", world.namespace, bystander.namespace);
    let _operator = world.operator_with(&["--watch-namespaces", &namespaces, "--log-filter", "zoho_operator=info"]);
    let padding = "x".repeat(900_000);
    let pairs = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", REFRESH_TOKEN)];
    world.source("source", &[pairs.as_slice(), &[("padding", padding.as_str())]].concat()).await;
    let create = async |number: usize| drop(world.credential(&format!("hog-{number}"), "source", json!({})).await);
    futures::stream::iter(0..HOGS).for_each_concurrent(8, create).await;
    for number in 0..HOGS {
        world.wait_ready(&format!("hog-{number}")).await;
    }
    let registered = world.zoho.register_many("bystander", 2 * NEW);
    let (first, second) = registered.split_at(NEW);
    let calm = bystander.waits("calm", first).await;
    let reads = reads_of_source(&world);
    let touches = AtomicUsize::new(0);
    let loaded = tokio::select! {
        () = touch(&world, &touches) => panic!("the bystander still waits"),
        loaded = bystander.waits("loaded", second) => loaded,
    };
    let (touches, reads) = (touches.into_inner(), reads_of_source(&world) - reads);
    let describe = |waits: &[Duration]| format!("p50 {:?}, p99 {:?}", waits[NEW / 2], waits[NEW - 1]);
    tell(&format!("without load {}; with {touches} touches and {reads} reads {}", describe(&calm), describe(&loaded)));
    assert!(loaded[NEW - 1] <= calm[NEW - 1] + Duration::from_secs(1), "{calm:?}, then {loaded:?}");
}
