//! Watches, queue, wake-ups, shutdown. No rules about tokens.
//!
//! One task a watch with its own backoff, so that a failing one holds up no other; all feed the one queue. Passes run in
//! tasks of their own: a panic in one ends that pass only.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use kube::core::{DeserializeGuard, Resource};
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::flags::{Flags, SecretAccess};
use crate::lead::{Leadership, Standing};
use crate::pass::{Context, PassError, reconcile};
use crate::serve::Health;
use crate::serve::metrics::PassOutcome;
use crate::serve::telemetry::SPANS;
use crate::watch::follow::{OfCluster, Sink, Watch, Witness};
use crate::watch::index::{Kind, News, SecretMeta};
use crate::watch::poll::{self, Poll};
use zoho_api::names::{LedgerName, ObjectName};
use zoho_api::{Time, ZohoCredential, ZohoMintLedger};
use zoho_client::clock;
use zoho_core::mirror::{Disagreement, Mirror, Scope, Taken, Version, Versioned, number};
use zoho_core::queue::{ClockWatch, Queue};

/// The wall clock is compared with the due times at least this often: timers stand still while a machine is suspended.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// What is in flight at shutdown may take this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
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
    let mut listing = start_watches(&context, &health);
    let mut served = Served::default();
    let (mut queue, mut clocks) = (Queue::default(), ClockWatch::default());
    let mut passes: JoinSet<Result<Option<Time>, PassError>> = JoinSet::new();
    let mut running: HashMap<Id, (ObjectName, Instant)> = HashMap::new();
    let mut tidied = Instant::now();
    let concurrency = usize::from(context.flags.concurrency);
    let within = loop {
        if shutdown.is_cancelled() {
            break DRAIN_WITHIN;
        }
        if let Standing::Lost { grace } = leadership.standing() {
            break grace;
        }
        health.turn();
        let now = context.clock.now();
        if clocks.was_set_back(now, clock::steady()) {
            tracing::warn!("the wall clock was set back: everything is looked at again");
            queue.clock_was_set_back(now);
            let all = context.index.credentials();
            all.iter().for_each(|credential| queue.add(ObjectName::of(&credential.metadata), now));
        }
        context.metrics.queued(queue.depth(now));
        let works = leadership.is_leader();
        while works && passes.len() < concurrency {
            let Some(key) = queue.take(now) else { break };
            let (context, of) = (context.clone(), key.clone());
            let span = tracing::info_span!(target: SPANS, "pass", credential = %of);
            let pass = passes.spawn(async move { reconcile(&context, &of).await }.instrument(span));
            running.insert(pass.id(), (key, Instant::now()));
        }
        // Whoever uses a ledger is known only where everything is listed.
        if works && listing.is_empty() && tidied.elapsed() > TIDY_EVERY {
            tidied = Instant::now();
            tokio::spawn(tidy(context.clone()));
        }
        let sleep =
            queue.next_due().filter(|_| works && passes.len() < concurrency).map_or(HEARTBEAT, |due| due.since(now));
        let wake = |queue: &mut Queue, served: &mut Served, key: ObjectName| {
            if !works && context.index.credential(&key).is_none() {
                // No pass of ours will find that it is gone.
                queue.remove(&key);
            } else if let Some(key) = served.admit(key) {
                queue.add(key, context.clock.now());
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = leadership.changed() => {}
            Some(scope) = listing.next(), if !listing.is_empty() => {
                tracing::info!(namespace = scope.as_deref(), "objects are listed and served from now on");
                served.add(scope).into_iter().for_each(|key| queue.add(key, context.clock.now()));
                if listing.is_empty() {
                    tracing::info!("watches have listed");
                }
            }
            Some(key) = woken.recv() => wake(&mut queue, &mut served, key),
            Some(done) = passes.join_next_with_id(), if !passes.is_empty() => {
                finish(&context, &mut queue, &mut running, done);
            }
            () = tokio::time::sleep(sleep.min(HEARTBEAT)) => {}
        }
        while let Ok(key) = woken.try_recv() {
            wake(&mut queue, &mut served, key);
        }
    };
    drain(&context, passes, within).await;
    if matches!(leadership.standing(), Standing::Lost { .. }) { Ended::LeaseLost } else { Ended::Asked }
}

/// What is served already. A namespace whose objects cannot be listed holds up no other.
#[derive(Default)]
struct Served {
    scopes: HashSet<Scope>,
    /// Objects of the others that something was heard of.
    held: HashSet<ObjectName>,
}

impl Served {
    /// Everything in a namespace (`None`: in all) is listed. Returns the objects that waited for it.
    fn add(&mut self, scope: Scope) -> Vec<ObjectName> {
        let covers = |key: &ObjectName| scope.as_ref().is_none_or(|namespace| *namespace == key.namespace);
        let waited = self.held.extract_if(covers).collect();
        self.scopes.insert(scope);
        waited
    }

    /// The key, if a pass may be made over its object. Else it waits.
    fn admit(&mut self, key: ObjectName) -> Option<ObjectName> {
        if self.scopes.contains(&None) || self.scopes.contains(&Some(key.namespace.clone())) {
            return Some(key);
        }
        self.held.insert(key);
        None
    }
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
    let in_use: HashSet<LedgerName> =
        credentials.iter().filter_map(|credential| credential.status.as_ref()?.ledger.clone()).collect();
    let ledgers = context.mints.ledgers();
    for name in ledgers.names().into_iter().filter(|name| !in_use.contains(name)) {
        ledgers.delete_if_empty(&name).await;
    }
    context.mints.forget_unused(&in_use, &context.inputs_in_use());
}

/// Each namespace that is served, once everything in it is listed.
type Listing = FuturesUnordered<BoxFuture<'static, Scope>>;

/// Starts the watches: credentials and Secrets of each namespace that is served, and the ledgers.
fn start_watches(context: &Arc<Context>, health: &Health) -> Listing {
    let by_get = context.flags.secret_access == SecretAccess::Get;
    let scopes: Vec<Scope> = match context.flags.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str().into())).collect(),
    };
    let witness = |kind: &'static str, scope: &Scope, is_essential: bool| {
        let (namespace, name) = (scope.as_deref().map(str::to_owned), name_of_watch(kind, scope.as_deref()));
        health.wait_for([name.clone()], is_essential);
        let (health, metrics, clock) = (health.clone(), context.metrics.clone(), context.clock.clone());
        Witness { health, metrics, clock, kind, namespace, name }
    };
    let own: Scope = Some(context.flags.operator_namespace().into());
    let of_ledgers = witness("zohomintledgers", &own, true);
    let source = OfCluster::new(&context.client, own.as_deref());
    let ledgers = Watch::spawn(source, Ledgers::new(context, own), of_ledgers);
    let listing = Listing::new();
    for scope in scopes {
        let sink = |kind| Indexed { context: context.clone(), kind, scope: scope.clone() };
        let source = OfCluster::new(&context.client, scope.as_deref());
        let of_credentials = witness("zohocredentials", &scope, false);
        let credentials =
            Watch::<DeserializeGuard<ZohoCredential>, _, _>::spawn(source, sink(Kind::Credentials), of_credentials);
        let of_secrets = witness("secrets", &scope, false);
        let secrets = if by_get {
            spawn_poll(context, of_secrets, scope.clone(), credentials.clone())
        } else {
            let source = OfCluster::new(&context.client, scope.as_deref());
            Watch::<SecretMeta, _, _>::spawn(source, sink(Kind::Secrets), of_secrets)
        };
        let needed = [ledgers.clone(), credentials, secrets];
        listing.push(Box::pin(async move {
            for mut one in needed {
                // A closed channel means that the watch's task is gone with the process.
                let _ = one.wait_for(|listed| *listed).await;
            }
            scope
        }));
    }
    listing
}

/// Takes what a watch tells into the index, and wakes whom it concerns.
struct Indexed {
    context: Arc<Context>,
    kind: Kind,
    scope: Scope,
}

impl Indexed {
    fn is_past(&self, version: Version) -> bool {
        self.context.index.is_past(self.kind, &self.scope, version)
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.context.index.disagreements(self.kind, &self.scope, listed)
    }

    fn doubt(&self) {
        self.context.index.doubt(self.kind, &self.scope);
        // Versions will come again with another content.
        self.context.memories.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Sink<DeserializeGuard<ZohoCredential>> for Indexed {
    fn is_past(&self, version: Version) -> bool {
        self.is_past(version)
    }

    fn take_in(&mut self, news: News<DeserializeGuard<ZohoCredential>>) {
        wake(&self.context, self.context.index.credentials_told(&self.scope, news));
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.disagreements(listed)
    }

    fn doubt(&mut self) {
        Self::doubt(self);
    }
}

impl Sink<SecretMeta> for Indexed {
    fn is_past(&self, version: Version) -> bool {
        self.is_past(version)
    }

    fn take_in(&mut self, news: News<SecretMeta>) {
        wake(&self.context, self.context.index.secrets_told(&self.scope, news));
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.disagreements(listed)
    }

    fn doubt(&mut self) {
        Self::doubt(self);
    }
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

fn wake(context: &Context, concerned: Vec<ObjectName>) {
    for key in concerned {
        // Without a receiver the process is shutting down.
        let _ = context.wake.send(key);
    }
}

/// Takes what the watch tells to the ledgers, and wakes whoever uses them: another replica may have minted, or a person
/// cleared a verdict.
struct Ledgers {
    context: Arc<Context>,
    scope: Scope,
    /// What the watch told, for the order of lists and news.
    told: Mirror<LedgerSeen>,
}

struct LedgerSeen {
    uid: String,
    version: String,
}

impl Versioned for LedgerSeen {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.version
    }
}

impl Ledgers {
    fn new(context: &Arc<Context>, scope: Scope) -> Self {
        Self { context: context.clone(), scope, told: Mirror::default() }
    }

    fn is_there(&mut self, ledger: DeserializeGuard<ZohoMintLedger>, listed_at: Option<Version>) {
        let meta = ledger.meta();
        let key = ObjectName::of(meta);
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let seen = LedgerSeen { uid: part(&meta.uid), version: part(&meta.resource_version) };
        let taken = match listed_at {
            Some(at) => self.told.listed(&self.scope, &key, seen, at),
            None => self.told.changed(&self.scope, &key, seen),
        };
        if !matches!(taken, Taken::No) && self.context.mints.ledgers().take_in(ledger) {
            self.wake_users(&LedgerName::from(&*key.name));
        }
    }

    fn is_gone(&self, name: &LedgerName) {
        self.context.mints.ledgers().forget(name);
        self.wake_users(name);
    }

    fn wake_users(&self, ledger: &LedgerName) {
        let is_user = |credential: &&Arc<ZohoCredential>| {
            credential.status.as_ref().and_then(|status| status.ledger.as_ref()) == Some(ledger)
        };
        let credentials = self.context.index.credentials();
        let users = credentials.iter().filter(is_user).map(|credential| ObjectName::of(&credential.metadata));
        wake(&self.context, users.collect());
    }
}

impl Sink<DeserializeGuard<ZohoMintLedger>> for Ledgers {
    fn is_past(&self, version: Version) -> bool {
        self.told.is_past(&self.scope, version)
    }

    fn take_in(&mut self, news: News<DeserializeGuard<ZohoMintLedger>>) {
        match news {
            News::Listed(ledger, at) => self.is_there(ledger, Some(at)),
            News::Changed(ledger) => self.is_there(ledger, None),
            News::Gone(ledger) => {
                let version = number(ledger.meta().resource_version.as_deref().unwrap_or_default());
                let key = ObjectName::of(ledger.meta());
                if !matches!(self.told.gone(&self.scope, &key, version), Taken::No) {
                    self.is_gone(&LedgerName::from(&*key.name));
                }
            }
            News::Only(present, at) => {
                let gone = self.told.only(&self.scope, &present, at);
                for (key, _) in gone {
                    self.is_gone(&LedgerName::from(&*key.name));
                }
            }
            News::Progress(version) => self.told.has_told(&self.scope, version),
        }
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.told.disagreements(&self.scope, listed, 5)
    }

    fn doubt(&mut self) {
        self.told.doubt(&self.scope);
        // Their versions are of a history that is no more.
        let ledgers = self.context.mints.ledgers();
        ledgers.names().iter().for_each(|name| ledgers.forget(name));
    }
}

/// Reads the Secrets that credentials of a namespace name, first when the credentials are listed, and then every minute.
fn spawn_poll(
    context: &Context,
    witness: Witness,
    scope: Scope,
    mut credentials: watch::Receiver<bool>,
) -> watch::Receiver<bool> {
    let (listed, receiver) = watch::channel(false);
    let Witness { health, metrics, clock, kind, namespace, name } = witness;
    let (client, index, wake) = (context.client.clone(), context.index.clone(), context.wake.clone());
    let poll = Poll { client, index, scope, wake, health: health.clone(), name: name.clone() };
    metrics.watches(namespace.as_deref(), kind);
    tokio::spawn(async move {
        while !*credentials.borrow_and_update() {
            health.turns(&name);
            // A closed channel means that the watch's task is gone with the process.
            let _ = tokio::time::timeout(poll::EVERY, credentials.changed()).await;
        }
        loop {
            if poll.round().await == 0 {
                metrics.watch_told(namespace.as_deref(), kind, clock.now());
                health.is_well(&name);
            } else {
                metrics.watch_failed(namespace.as_deref(), kind);
                health.fails(&name);
            }
            // One that cannot be read holds up no other: its own pass reads it, or fails and is tried again.
            if !listed.send_replace(true) {
                health.has(&name);
            }
            health.turns(&name);
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

/// Says in one line what is missing where the kinds are not served.
///
/// # Errors
///
/// No cluster, no permission in any of the namespaces, or no CRDs.
pub(crate) async fn check_kinds(client: &Client, flags: &Flags) -> anyhow::Result<()> {
    let namespaces = flags.watch_namespaces.iter().map(|namespace| Some(namespace.as_str()));
    let scopes: Vec<Option<&str>> = if flags.watch_namespaces.is_empty() { vec![None] } else { namespaces.collect() };
    let mut outcome = Ok(());
    for scope in scopes {
        let params = kube::api::ListParams::default().limit(1);
        outcome =
            zoho_client::calls::call(scoped::<ZohoCredential>(client, scope).list_metadata(&params)).await.map(drop);
        // One that may not be read is tried again later, as long as there is another one.
        if !matches!(outcome, Err(zoho_client::calls::ApiError::Refused { .. })) {
            break;
        }
    }
    match outcome {
        Ok(()) => Ok(()),
        Err(zoho_client::calls::ApiError::NotFound) => anyhow::bail!(
            "the CustomResourceDefinitions of zoho-operator.dev are not installed: apply the files of crds/ (kubectl apply --server-side -f crds/), or install the Helm chart with crds.enabled=true"
        ),
        Err(error) => Err(anyhow::Error::new(error).context("list zohocredentials")),
    }
}
