//! Watches, queue, wake-ups, shutdown. No rules about tokens.
//!
//! One task a watch with its own backoff, so that a failing one holds up no other; all feed the one queue. Passes run in
//! tasks of their own: a panic in one ends that pass only.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::core::{DeserializeGuard, Resource};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::flags::{Flags, SecretAccess};
use crate::lead::{Leadership, Standing};
use crate::pass::{Context, PassError, reconcile};
use crate::serve::Health;
use crate::serve::metrics::{Metrics, PassOutcome};
use crate::serve::telemetry::SPANS;
use crate::watch::index::{Index, SecretMeta};
use crate::watch::poll::{self, Poll};
use zoho_api::names::ObjectName;
use zoho_api::{Time, ZohoCredential, ZohoMintLedger};
use zoho_client::clock::Clock;
use zoho_core::queue::Queue;

/// The wall clock is compared with the due times at least this often: timers stand still while a machine is suspended.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// A watch is opened anew after this many seconds, so a half-open connection is noticed within five more.
const WATCH_FOR: u32 = 110;
/// Longest pause before a failed watch is opened again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What is in flight at shutdown may take this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
/// What `/readyz` waits for where Secrets are not watched.
const FIRST_ROUND: &str = "the first reading of the Secrets that ZohoCredentials name";
/// How often ledgers that nothing refers to are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// Why the controller ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to.
    Asked,
    /// Another replica leads, or soon will.
    LeaseLost,
}

/// Runs until `shutdown` or until the lease is lost, then finishes what is in flight. A standby keeps its view fresh and
/// makes no pass.
pub(crate) async fn run(
    context: Arc<Context>,
    mut woken: mpsc::UnboundedReceiver<ObjectName>,
    health: Health,
    mut leadership: Leadership,
    shutdown: CancellationToken,
) -> Ended {
    let synced = start_watches(&context, &health);
    let mut queue = Queue::default();
    let mut passes: JoinSet<Result<Option<Time>, PassError>> = JoinSet::new();
    let mut running: HashMap<Id, (ObjectName, Instant)> = HashMap::new();
    let mut tidied = Instant::now();
    let concurrency = usize::from(context.flags.concurrency);
    let all_synced = async {
        for mut one in synced {
            // A closed channel means that the watch's task is gone with the process.
            let _ = one.wait_for(|synced| *synced).await;
        }
    };
    tokio::pin!(all_synced);
    let mut ready = false;
    let within = loop {
        if shutdown.is_cancelled() {
            break DRAIN_WITHIN;
        }
        if let Standing::Lost { grace } = leadership.standing() {
            break grace;
        }
        health.turn();
        let now = context.clock.now();
        context.metrics.queued(queue.depth(now));
        let works = ready && leadership.is_leader();
        while works && passes.len() < concurrency {
            let Some(key) = queue.take(now) else { break };
            let (context, of) = (context.clone(), key.clone());
            let span = tracing::info_span!(target: SPANS, "pass", credential = %of);
            let pass = passes.spawn(async move { reconcile(&context, &of).await }.instrument(span));
            running.insert(pass.id(), (key, Instant::now()));
        }
        if works && tidied.elapsed() > TIDY_EVERY {
            tidied = Instant::now();
            tokio::spawn(tidy(context.clone()));
        }
        let sleep =
            queue.next_due().filter(|_| works && passes.len() < concurrency).map_or(HEARTBEAT, |due| due.since(now));
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = leadership.changed() => {}
            () = &mut all_synced, if !ready => {
                ready = true;
                tracing::info!("watches have listed");
            }
            Some(key) = woken.recv() => queue.add(key, context.clock.now()),
            Some(done) = passes.join_next_with_id(), if !passes.is_empty() => {
                finish(&context, &mut queue, &mut running, done);
            }
            () = tokio::time::sleep(sleep.min(HEARTBEAT)) => {}
        }
        while let Ok(key) = woken.try_recv() {
            queue.add(key, context.clock.now());
        }
    };
    drain(&context, passes, within).await;
    if matches!(leadership.standing(), Standing::Lost { .. }) { Ended::LeaseLost } else { Ended::Asked }
}

type Done = Result<(Id, Result<Option<Time>, PassError>), tokio::task::JoinError>;

fn finish(context: &Context, queue: &mut Queue, running: &mut HashMap<Id, (ObjectName, Instant)>, done: Done) {
    let id = match &done {
        Ok((id, _)) => *id,
        Err(error) => error.id(),
    };
    let Some((key, started)) = running.remove(&id) else { return };
    let now = context.clock.now();
    let outcome = match done {
        Ok((_, Ok(next))) => {
            queue.finish(&key, next);
            PassOutcome::Done
        }
        Ok((_, Err(error))) => {
            tracing::warn!(credential = %key, error = &error as &dyn std::error::Error, "pass not finished; it is tried again");
            queue.fail(&key, now);
            PassOutcome::Failed
        }
        Err(panic) => {
            tracing::error!(credential = %key, error = &panic as &dyn std::error::Error, "pass panicked; it is tried again");
            queue.fail(&key, now);
            PassOutcome::Panicked
        }
    };
    context.metrics.reconciled(outcome, started.elapsed());
}

/// A token that was asked for is worth waiting for: it is in memory, and one more pass stores it.
async fn drain(context: &Arc<Context>, mut passes: JoinSet<Result<Option<Time>, PassError>>, within: Duration) {
    tracing::info!(passes = passes.len(), within = within.as_secs(), "stopping: finishing what is in flight");
    let finish = async {
        while passes.join_next().await.is_some() {}
        for key in context.mints.drain().await {
            if let Err(error) = reconcile(context, &key).await {
                tracing::warn!(credential = %key, error = &error as &dyn std::error::Error, "pass not finished");
            }
        }
    };
    if tokio::time::timeout(within, finish).await.is_err() {
        tracing::warn!("not everything in flight was finished");
    }
}

/// Deletes ledgers that nothing refers to, and forgets what is kept in memory of inputs that nobody has any more.
async fn tidy(context: Arc<Context>) {
    let credentials = context.index.credentials();
    let in_use: HashSet<String> =
        credentials.iter().filter_map(|credential| credential.status.as_ref()?.ledger.clone()).collect();
    let ledgers = context.mints.ledgers();
    for name in ledgers.names().into_iter().filter(|name| !in_use.contains(name)) {
        ledgers.delete_if_empty(&name).await;
    }
    context.mints.forget_unused(&in_use, &context.inputs_in_use());
}

/// Starts the watches: credentials and Secrets of each namespace that is served, and the ledgers. Each tells when it has
/// listed everything once.
fn start_watches(context: &Arc<Context>, health: &Health) -> Vec<watch::Receiver<bool>> {
    let client = &context.client;
    let served: Vec<Option<&str>> = match context.flags.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let mut listed = Vec::new();
    let mut names = vec![name_of_watch("zohomintledgers", Some(&context.flags.operator_namespace()))];
    let by_get = context.flags.secret_access == SecretAccess::Get;
    for namespace in &served {
        let kinds: &[&str] = if by_get { &["zohocredentials"] } else { &["zohocredentials", "secrets"] };
        names.extend(kinds.iter().map(|kind| name_of_watch(kind, *namespace)));
    }
    names.extend(by_get.then(|| FIRST_ROUND.to_owned()));
    health.wait_for(names);
    for namespace in served {
        let take_in = |index: &Index, news| match news {
            News::Present(credential) => index.apply_credential(credential),
            News::Gone(credential) => index.delete_credential(credential.meta()),
            News::Only(present) => index.retain_credentials(present.namespace.as_deref(), &present.keys),
        };
        let api: Api<DeserializeGuard<ZohoCredential>> = scoped(client, namespace);
        listed.push(spawn_watch(
            "zohocredentials",
            api,
            namespace,
            Witness::new(context, health),
            feed(context, take_in),
        ));

        if by_get {
            continue;
        }
        let take_in = |index: &Index, news| match news {
            News::Present(SecretMeta { metadata, .. }) => index.apply_secret(&metadata),
            News::Gone(SecretMeta { metadata, .. }) => index.delete_secret(&metadata),
            News::Only(present) => index.retain_secrets(present.namespace.as_deref(), &present.keys),
        };
        let api: Api<SecretMeta> = scoped(client, namespace);
        listed.push(spawn_watch("secrets", api, namespace, Witness::new(context, health), feed(context, take_in)));
    }
    if by_get {
        listed.push(spawn_poll(context, Witness::new(context, health), listed.clone()));
    }
    let namespace = context.flags.operator_namespace();
    let api = Api::namespaced(client.clone(), &namespace);
    let of = context.clone();
    let take_in = move |news| take_in_ledger(&of, news);
    listed.push(spawn_watch("zohomintledgers", api, Some(&namespace), Witness::new(context, health), take_in));
    listed
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// What a watch tells.
enum News<K> {
    /// The object is there, like this.
    Present(K),
    /// The object is gone.
    Gone(K),
    /// These are all there are.
    Only(Listed),
}

/// All objects of a namespace, or of all.
struct Listed {
    namespace: Option<String>,
    keys: HashSet<ObjectName>,
}

/// Takes news into the index and wakes whom they concern.
fn feed<K, F>(context: &Arc<Context>, take_in: F) -> impl FnMut(News<K>) + use<K, F>
where
    F: Fn(&Index, News<K>) -> Vec<ObjectName>,
{
    let context = context.clone();
    move |news| wake(&context, take_in(&context.index, news))
}

fn wake(context: &Context, concerned: Vec<ObjectName>) {
    for key in concerned {
        // Without a receiver the process is shutting down.
        let _ = context.wake.send(key);
    }
}

/// News of a ledger concern whoever uses it: another replica may have minted, or a person cleared a verdict.
fn take_in_ledger(context: &Context, news: News<DeserializeGuard<ZohoMintLedger>>) {
    let ledgers = context.mints.ledgers();
    let changed = match news {
        News::Present(ledger) => {
            let name = ObjectName::of(ledger.meta()).name;
            if !ledgers.observe(ledger) {
                return;
            }
            name
        }
        News::Gone(ledger) => {
            let name = ObjectName::of(ledger.meta()).name;
            ledgers.forget(&name);
            name
        }
        News::Only(present) => {
            let present: HashSet<Arc<str>> = present.keys.into_iter().map(|key| key.name).collect();
            let gone = ledgers.names().into_iter().filter(|name| !present.contains(name.as_str()));
            gone.for_each(|name| ledgers.forget(&name));
            return;
        }
    };
    let uses = |credential: &&Arc<ZohoCredential>| {
        credential.status.as_ref().and_then(|status| status.ledger.as_deref()) == Some(&*changed)
    };
    let credentials = context.index.credentials();
    wake(context, credentials.iter().filter(uses).map(|credential| ObjectName::of(&credential.metadata)).collect());
}

/// Who is told how a watch does.
struct Witness {
    health: Health,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

impl Witness {
    fn new(context: &Context, health: &Health) -> Self {
        Self { health: health.clone(), metrics: context.metrics.clone(), clock: context.clock.clone() }
    }
}

fn spawn_watch<K>(
    kind: &'static str,
    api: Api<K>,
    namespace: Option<&str>,
    witness: Witness,
    mut take_in: impl FnMut(News<K>) + Send + 'static,
) -> watch::Receiver<bool>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (listed, receiver) = watch::channel(false);
    let namespace = namespace.map(str::to_owned);
    let Witness { health, metrics, clock } = witness;
    let name = name_of_watch(kind, namespace.as_deref());
    metrics.watches(namespace.as_deref(), kind);
    tokio::spawn(async move {
        let mut keys = HashSet::new();
        let mut pause = Duration::from_secs(1);
        loop {
            let mut stream = watcher(api.clone(), watcher::Config::default().timeout(WATCH_FOR)).boxed();
            while let Some(event) = stream.next().await {
                match &event {
                    Ok(_) => metrics.watch_told(namespace.as_deref(), kind, clock.now()),
                    Err(_) => metrics.watch_failed(namespace.as_deref(), kind),
                }
                match event {
                    Ok(Event::Init) => keys.clear(),
                    Ok(Event::InitApply(object)) => {
                        keys.insert(ObjectName::of(object.meta()));
                        take_in(News::Present(object));
                    }
                    Ok(Event::InitDone) => {
                        let keys = std::mem::take(&mut keys);
                        take_in(News::Only(Listed { namespace: namespace.clone(), keys }));
                        pause = Duration::from_secs(1);
                        listed.send_replace(true);
                        health.has(&name);
                    }
                    Ok(Event::Apply(object)) => take_in(News::Present(object)),
                    Ok(Event::Delete(object)) => take_in(News::Gone(object)),
                    Err(error) => {
                        tracing::warn!(
                            kind,
                            error = &error as &dyn std::error::Error,
                            "watch failed; it is opened again"
                        );
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        if is_gone(&error) {
                            // The watcher re-lists by itself only where the 410 comes as an event.
                            break;
                        }
                    }
                }
            }
        }
    });
    receiver
}

/// Reads the Secrets that credentials name, first when all credentials are listed, and then every minute.
fn spawn_poll(context: &Context, witness: Witness, mut first: Vec<watch::Receiver<bool>>) -> watch::Receiver<bool> {
    let (listed, receiver) = watch::channel(false);
    let Witness { health, metrics, clock } = witness;
    let (client, index, wake) = (context.client.clone(), context.index.clone(), context.wake.clone());
    let poll = Poll { client, index, wake };
    metrics.watches(None, "secrets");
    tokio::spawn(async move {
        for one in &mut first {
            // A closed channel means that the watch's task is gone with the process.
            let _ = one.wait_for(|listed| *listed).await;
        }
        loop {
            if poll.round().await == 0 {
                metrics.watch_told(None, "secrets", clock.now());
            } else {
                metrics.watch_failed(None, "secrets");
            }
            // One that cannot be read holds up no other: its own pass reads it, or fails and is tried again.
            listed.send_replace(true);
            health.has(FIRST_ROUND);
            tokio::time::sleep(poll::EVERY).await;
        }
    });
    receiver
}

/// As `/readyz` says it.
fn name_of_watch(kind: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("the list of {kind} in namespace {namespace}"),
        None => format!("the list of {kind}"),
    }
}

fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::InitialListFailed(_)
        | watcher::Error::NoResourceVersion => false,
    }
}

/// Says in one line what is missing where the kinds are not served.
///
/// # Errors
///
/// No cluster, no permission, or no CRDs.
pub(crate) async fn check_kinds(client: &Client, flags: &Flags) -> anyhow::Result<()> {
    let credentials = scoped::<ZohoCredential>(client, flags.watch_namespaces.first().map(String::as_str));
    let params = kube::api::ListParams::default().limit(1);
    match zoho_client::calls::call(credentials.list_metadata(&params)).await {
        Ok(_) => Ok(()),
        Err(zoho_client::calls::ApiError::NotFound) => anyhow::bail!(
            "the CustomResourceDefinitions of zoho-operator.dev are not installed: apply the files of crds/ (kubectl apply --server-side -f crds/), or install the Helm chart with crds.enabled=true"
        ),
        Err(error) => Err(anyhow::Error::new(error).context("list zohocredentials")),
    }
}
