//! Watches, queue, wake-ups, shutdown. No rules about tokens.
//!
//! One task a watch with its own backoff, so that a failing one holds up no other; all feed the one queue. Passes run in
//! tasks of their own: a panic in one ends that pass only.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use zoho_api::Time;
use zoho_api::names::ObjectName;
use zoho_client::clock;
use zoho_core::mirror::{Scope, covers};
use zoho_core::queue::{ClockWatch, Queue};
use zoho_core::text::causes;

use crate::lead::{Leadership, Standing};
use crate::pass::{Context, PassError, reconcile};
use crate::serve::Health;
use crate::serve::metrics::PassOutcome;
use crate::serve::telemetry::SPANS;
use crate::watch::feed::{Listing, start_watches};

/// The wall clock is compared with the due times at least this often: timers stand still while a machine is suspended.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// While news waits behind a burst it is looked so often whether that is over.
const BURST_LOOK: Duration = Duration::from_millis(250);
/// So many wake-ups are taken in one turn.
const MOST_WOKEN: usize = 1024;
/// What is in flight at shutdown may take this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
/// Pause before a token that could not be stored at shutdown is tried again.
const DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// What is left to publish after that may take this long.
const EVENTS_WITHIN: Duration = Duration::from_secs(1);
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
    let listing = start_watches(&context, &health);
    let events = context.events.clone();
    let mut controller = Controller::new(context, listing);
    let within = loop {
        if shutdown.is_cancelled() {
            break DRAIN_WITHIN;
        }
        if let Standing::Lost { grace } = leadership.standing() {
            break grace;
        }
        health.turn();
        let works = leadership.is_leader();
        let idle = controller.turn(works);
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = leadership.changed() => {}
            Some(scope) = controller.listing.next(), if !controller.listing.is_empty() => controller.serve(scope),
            Some(key) = woken.recv() => controller.wake(key, works),
            Some(done) = controller.passes.join_next_with_id(), if !controller.passes.is_empty() => controller.finish(done),
            () = tokio::time::sleep(idle) => {}
        }
        // Not until there are none: they may come as fast as they are taken.
        for _ in 0..MOST_WOKEN {
            let Ok(key) = woken.try_recv() else { break };
            controller.wake(key, works);
        }
    };
    controller.drain(woken, within).await;
    if matches!(leadership.standing(), Standing::Lost { .. }) {
        return Ended::LeaseLost;
    }
    // What a status calls handled has no other chance to be answered. No pass runs any more.
    let _ = tokio::time::timeout(EVENTS_WITHIN, events.published()).await;
    Ended::Asked
}

/// The passes that are due, and those that run.
struct Controller {
    context: Arc<Context>,
    queue: Queue,
    clocks: ClockWatch,
    /// What is not listed yet.
    listing: Listing,
    served: Served,
    passes: JoinSet<Result<Option<Time>, PassError>>,
    running: HashMap<Id, Running>,
    tidied: Time,
    tidying: Option<JoinHandle<()>>,
    /// When the queue was last counted.
    measured: Instant,
}

impl Controller {
    fn new(context: Arc<Context>, listing: Listing) -> Self {
        Self {
            queue: Queue::new(context.flags.concurrency.into()),
            clocks: ClockWatch::default(),
            listing,
            served: Served::default(),
            passes: JoinSet::new(),
            running: HashMap::new(),
            tidied: context.clock.now(),
            tidying: None,
            measured: Instant::now(),
            context,
        }
    }

    /// Starts what is due, where this process works. Returns how long nothing will be.
    fn turn(&mut self, works: bool) -> Duration {
        let now = self.context.clock.now();
        if self.clocks.was_set_back(now, clock::steady()) {
            tracing::warn!("the wall clock was set back: everything is looked at again");
            self.queue.clock_was_set_back(now);
            for credential in self.context.index.credentials() {
                self.queue.add(ObjectName::of(&credential.metadata), now);
            }
        }
        let room_for = |namespace: &str| self.context.events.room_for(namespace);
        for key in self.context.news.due(self.context.flags.concurrency.into(), room_for, now) {
            self.queue.add(key, now);
        }
        if (works && self.passes.is_empty()) || self.measured.elapsed() >= BURST_LOOK {
            // Counting thousands at every turn would be most of the work, also of a process that stands by. The last word is
            // about a queue that is done.
            self.measured = Instant::now();
            self.context.metrics.queued(self.queue.depth(now));
        }
        while let Some(key) = works.then(|| self.queue.take(now)).flatten() {
            self.begin(key);
        }
        let is_tidying = self.tidying.as_ref().is_some_and(|task| !task.is_finished());
        if !is_tidying && !(self.tidied..self.tidied + TIDY_EVERY).contains(&now) {
            self.tidied = now;
            let deletes_of = works.then(|| self.served.scopes.clone());
            self.tidying = Some(tokio::spawn(tidy(self.context.clone(), deletes_of, self.listing.is_empty())));
        }
        let due = self.queue.next_due().filter(|_| works);
        let longest = if self.context.news.is_owed() { BURST_LOOK } else { HEARTBEAT };
        due.map_or(longest, |due| due.since(now)).min(longest)
    }

    /// Everything in a namespace (`None`: in all) is listed.
    fn serve(&mut self, scope: Scope) {
        tracing::info!(namespace = scope.as_deref(), "objects are listed and served from now on");
        let now = self.context.clock.now();
        self.served.add(scope).into_iter().for_each(|key| self.queue.add(key, now));
        if self.listing.is_empty() {
            tracing::info!("watches have listed");
        }
    }

    /// Something was heard of an object.
    fn wake(&mut self, key: ObjectName, works: bool) {
        let is_there = self.context.index.credential(&key).is_some();
        if !works && !is_there {
            // No pass of ours will find that it is gone.
            self.queue.remove(&key);
        }
        if let Some(key) = self.served.admit(key, is_there).filter(|_| works || is_there) {
            self.queue.add(key, self.context.clock.now());
        }
    }

    fn begin(&mut self, key: ObjectName) {
        let (context, of) = (self.context.clone(), key.clone());
        let has_landed = context.mints.is_looked_at(&key);
        let span = tracing::info_span!(target: SPANS, "pass", credential = %of);
        let pass = self.passes.spawn(async move { reconcile(&context, &of).await }.instrument(span));
        self.running.insert(pass.id(), Running { key, since: Instant::now(), has_landed });
    }

    /// A pass is over: the queue learns when the next one is due.
    fn finish(&mut self, done: Done) {
        match self.ended(done) {
            Some((key, Ok(next))) => self.queue.finish(&key, next),
            Some((key, Err(()))) => self.queue.fail(&key, self.context.clock.now()),
            None => {}
        }
    }

    /// A pass is over. Returns its object, and when the next one is due, where it came to its end.
    fn ended(&mut self, done: Done) -> Option<(ObjectName, Result<Option<Time>, ()>)> {
        let id = match &done {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Running { key, since, has_landed } = self.running.remove(&id)?;
        // With the status comes only what is said of it.
        let is_stored = matches!(&done, Ok((_, Ok(_) | Err(PassError::Status(_)))));
        let (outcome, next) = match done {
            Ok((_, Ok(next))) => (PassOutcome::Done, Ok(next)),
            Ok((_, Err(error))) => {
                tracing::warn!(credential = %key, error = causes(&error), "pass not finished; it is tried again");
                (PassOutcome::Failed, Err(()))
            }
            // Where is in the log already. What it said may quote a Secret.
            Err(_) => {
                tracing::error!(credential = %key, "pass panicked; it is tried again");
                (PassOutcome::Panicked, Err(()))
            }
        };
        self.context.metrics.reconciled(outcome, since.elapsed());
        if has_landed && !is_stored {
            self.context.mints.is_not_looked_at(&key);
        }
        Some((key, next))
    }

    /// A token that was asked for is worth waiting for: when it comes it is in memory, and one more pass stores it. Each is
    /// stored as soon as it comes, so that a slow answer costs nobody else's token.
    async fn drain(mut self, mut woken: mpsc::UnboundedReceiver<ObjectName>, within: Duration) {
        tracing::info!(passes = self.passes.len(), within = within.as_secs(), "stopping: finishing what is in flight");
        let mints = self.context.mints.clone();
        mints.close();
        let finish = async {
            let mut pause = Instant::now();
            loop {
                // Asked first: what lands afterwards is seen.
                let is_idle = mints.is_idle();
                let is_over = pause <= Instant::now();
                if is_over {
                    self.look_at_landed();
                }
                if self.passes.is_empty() && is_idle && mints.landed().is_empty() {
                    break;
                }
                tokio::select! {
                    Some(done) = self.passes.join_next_with_id(), if !self.passes.is_empty() => {
                        if let Some((_, Err(()))) = self.ended(done) {
                            pause = Instant::now() + DRAIN_PAUSE;
                        }
                    }
                    Some(_) = woken.recv() => {}
                    () = mints.idle(), if !is_idle => {}
                    () = tokio::time::sleep_until(pause), if !is_over => {}
                }
            }
        };
        if tokio::time::timeout(within, finish).await.is_err() {
            tracing::warn!("not everything in flight was finished");
        }
    }

    /// Starts a pass over each object that a flight has landed for.
    fn look_at_landed(&mut self) {
        for key in self.context.mints.landed() {
            if self.passes.len() >= usize::from(self.context.flags.concurrency) {
                break;
            }
            if !self.running.values().any(|running| running.key == key) {
                self.begin(key);
            }
        }
    }
}

/// A pass that runs.
struct Running {
    key: ObjectName,
    since: Instant,
    /// A flight had landed for its object when it began.
    has_landed: bool,
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
        let waited = self.held.extract_if(|key| covers(&scope, key)).collect();
        self.scopes.insert(scope);
        waited
    }

    /// The key, if a pass may be made over its object. Else it waits, as long as it is there.
    fn admit(&mut self, key: ObjectName, is_there: bool) -> Option<ObjectName> {
        if self.scopes.contains(&None) || self.scopes.contains(&Some(key.namespace.clone())) {
            return Some(key);
        }
        if is_there {
            self.held.insert(key)
        } else {
            self.held.remove(&key)
        };
        None
    }
}

type Done = Result<(Id, Result<Option<Time>, PassError>), tokio::task::JoinError>;

/// Forgets what is kept in memory of inputs that nobody has any more, and, where this process works, deletes ledgers that nothing
/// refers to. Who uses a ledger is known once all namespaces are listed: until then only those go that never minted, and whose
/// namespace is.
async fn tidy(context: Arc<Context>, deletes_of: Option<HashSet<Scope>>, are_all_listed: bool) {
    let credentials = context.index.credentials();
    // A status may not have been written yet.
    let (inputs, mut in_use) = context.memories.inputs_in_use();
    in_use.extend(credentials.iter().filter_map(|credential| credential.status.as_ref()?.ledger.clone()));
    context.mints.forget_unused(&in_use, &inputs);
    let Some(listed) = deletes_of else { return };
    let is_known = |namespace: Option<&str>, has_minted: bool| {
        let is_listed = |namespace: &str| listed.contains(&None) || listed.contains(&Some(namespace.into()));
        are_all_listed || (!has_minted && namespace.is_some_and(is_listed))
    };
    let ledgers = context.mints.ledgers();
    for name in ledgers.names(is_known).into_iter().filter(|name| !in_use.contains(name)) {
        ledgers.delete_if_empty(&name).await;
    }
}
