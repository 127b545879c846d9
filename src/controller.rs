//! Watches, queue, wake-ups, shutdown. No rules about tokens.
//!
//! One task a watch with its own backoff, so that a failing one holds up no other; all feed the one queue. Passes run in
//! tasks of their own: a panic in one ends that pass only.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use zoho_api::Time;
use zoho_api::names::{LedgerName, ObjectName};
use zoho_client::clock;
use zoho_core::mirror::Scope;
use zoho_core::queue::{ClockWatch, Queue};

use crate::lead::{Leadership, Standing};
use crate::pass::{Context, PassError, reconcile};
use crate::serve::Health;
use crate::serve::metrics::PassOutcome;
use crate::serve::telemetry::SPANS;
use crate::watch::feed::start_watches;

/// The wall clock is compared with the due times at least this often: timers stand still while a machine is suspended.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// What is in flight at shutdown may take this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
/// How often ledgers that nothing refers to are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(60);

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
    let (mut queue, mut clocks) = (Queue::new(context.flags.concurrency.into()), ClockWatch::default());
    let mut passes: JoinSet<Result<Option<Time>, PassError>> = JoinSet::new();
    let mut running: HashMap<Id, (ObjectName, Instant)> = HashMap::new();
    let mut tidied = context.clock.now();
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
            for credential in context.index.credentials() {
                queue.add(ObjectName::of(&credential.metadata), now);
            }
        }
        context.metrics.queued(queue.depth(now));
        let works = leadership.is_leader();
        while let Some(key) = works.then(|| queue.take(now)).flatten() {
            running.insert(begin(&context, &key, &mut passes), (key, Instant::now()));
        }
        // Whoever uses a ledger is known only where everything is listed.
        if works && listing.is_empty() && !(tidied..tidied + TIDY_EVERY).contains(&now) {
            tidied = now;
            tokio::spawn(tidy(context.clone()));
        }
        let sleep = queue.next_due().filter(|_| works).map_or(HEARTBEAT, |due| due.since(now));
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

fn begin(context: &Arc<Context>, key: &ObjectName, passes: &mut JoinSet<Result<Option<Time>, PassError>>) -> Id {
    let (context, of) = (context.clone(), key.clone());
    let span = tracing::info_span!(target: SPANS, "pass", credential = %of);
    passes.spawn(async move { reconcile(&context, &of).await }.instrument(span)).id()
}

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
