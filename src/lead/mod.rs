//! Leader election on a Lease in the operator's namespace: one replica makes passes, the others stand by.
//!
//! get → [`decide`](Sight::decide) → write with the resourceVersion. The leader renews every retry period and stops
//! acting by itself when no renewal has succeeded for the renew deadline, which is before anybody else may take over.
//! What it has minted by then it may still store; then the process ends: a new one starts from nothing, where one that
//! went back to standing by would have to forget all it believes.
//!
//! Election saves needless work. It is no fence: a process that is stopped between its last look and its request cannot
//! be held back by any lease. What keeps such a one from doing harm is the mint ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::flags::Election;
use zoho_api::FIELD_MANAGER;
use zoho_client::calls::{ApiError, call};
use zoho_client::clock::{self, Clock};
use zoho_core::lease::{Moment, Record, Sight, Step};
use zoho_core::text::causes;

/// How long the release of the lease may take: without it the next leader only waits longer.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);
/// Writes tried in one turn when somebody else wrote the lease meanwhile.
const MOST_TRIES: usize = 3;

/// Where this process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Another replica leads, or may.
    Standby,
    /// This one leads.
    Leading,
    /// This one has led and must end. Nothing new is begun; what was minted may be stored for that long.
    Lost {
        /// Until the lease runs out, and nothing where somebody else has it already.
        grace: Duration,
    },
}

/// Says whether this process leads. Cheap to ask and to clone.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    /// Milliseconds of the steady clock until which this process may act.
    until: Arc<AtomicU64>,
    standing: watch::Receiver<Standing>,
    /// Milliseconds of the steady clock since when the lease can be neither read nor written; zero where it can.
    in_vain_since: Arc<AtomicU64>,
    /// Kept so that the channel does not close where there is no election.
    _sender: Arc<watch::Sender<Standing>>,
}

impl Leadership {
    /// For a process that runs alone.
    pub(crate) fn alone() -> Self {
        let (sender, standing) = watch::channel(Standing::Leading);
        let (until, in_vain_since) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::default());
        Self { until, standing, in_vain_since, _sender: Arc::new(sender) }
    }

    /// May this process act now? Asked directly before every token request: true only until the deadline of the last
    /// successful renewal, whatever the rest of the process is busy with.
    pub(crate) fn is_leader(&self) -> bool {
        millis(clock::steady()) < self.until.load(Ordering::Relaxed)
    }

    /// How long this process has tried in vain to read or to write the lease: nobody may lead, and it could not.
    pub(crate) fn in_vain_for(&self) -> Duration {
        match self.in_vain_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(millis(clock::steady()).saturating_sub(since)),
        }
    }

    /// Where this process stands.
    pub(crate) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Waits until it stands otherwise. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Standing {
        // The sender is kept by `self`.
        let _ = self.standing.changed().await;
        self.standing()
    }
}

/// Keeps the election going; see [`Elector::start`].
pub(crate) struct Elector {
    release: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Elector {
    /// Starts to stand for election. `client` should be one of its own, so that no busy connection delays a renewal.
    ///
    /// # Errors
    ///
    /// The lease cannot be read.
    ///
    /// # Permissions
    ///
    /// get, create and update on the Lease `name` in the namespace.
    pub(crate) async fn start(
        client: Client,
        namespace: &str,
        name: &str,
        me: String,
        labels: BTreeMap<String, String>,
        timing: Election,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Leadership), ApiError> {
        let (sender, standing) = watch::channel(Standing::Standby);
        let sender = Arc::new(sender);
        let until = Arc::new(AtomicU64::new(0));
        let in_vain_since = Arc::new(AtomicU64::new(0));
        let mut candidate = Candidate {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me,
            labels,
            timing,
            clock,
            sight: Sight::default(),
            stored: None,
            until: until.clone(),
            in_vain_since: in_vain_since.clone(),
            leads_until: None,
            standing: sender.clone(),
        };
        candidate.look().await?;
        let release = CancellationToken::new();
        let asked = release.clone();
        let end = EndsAll(sender.clone());
        let task = tokio::spawn(async move {
            let _end = end;
            tokio::select! {
                () = candidate.stand() => {}
                () = asked.cancelled() => {
                    if timeout(RELEASE_WITHIN, candidate.release()).await.is_err() {
                        tracing::warn!("the lease could not be released in time; it runs out by itself");
                    }
                }
            }
        });
        Ok((Self { release, task }, Leadership { until, standing, in_vain_since, _sender: sender }))
    }

    /// Lets the next replica lead at once. To be called when everything in flight is finished.
    pub(crate) async fn release(self) {
        self.release.cancel();
        // Only a panic can have ended the task; then the lease runs out by itself.
        let _ = self.task.await;
    }
}

/// Without its election a process would neither act nor end: should the task panic, the lease counts as lost.
struct EndsAll(Arc<watch::Sender<Standing>>);

impl Drop for EndsAll {
    fn drop(&mut self) {
        self.0.send_if_modified(|standing| {
            let is_news = !matches!(standing, Standing::Lost { .. });
            if is_news {
                *standing = Standing::Lost { grace: Duration::ZERO };
            }
            is_news
        });
    }
}

struct Candidate {
    leases: Api<Lease>,
    name: String,
    me: String,
    labels: BTreeMap<String, String>,
    timing: Election,
    clock: Arc<dyn Clock>,
    sight: Sight,
    /// The lease as last read or written.
    stored: Option<Lease>,
    until: Arc<AtomicU64>,
    in_vain_since: Arc<AtomicU64>,
    /// `None` until this process leads.
    leads_until: Option<Moment>,
    standing: Arc<watch::Sender<Standing>>,
}

impl Candidate {
    /// Returns when the lease is lost.
    async fn stand(&mut self) {
        let mut told: Option<String> = None;
        loop {
            if let Some(end) = self.turn().await {
                self.until.store(0, Ordering::Relaxed);
                self.standing.send_replace(Standing::Lost { grace: end });
                return;
            }
            let now = clock::steady();
            let pause = if let Some(leads_until) = self.leads_until {
                self.timing.retry_period.min(leads_until.saturating_sub(now))
            } else {
                let holder = self.sight.holder().map(str::to_owned);
                if holder.is_some() && holder != told {
                    tracing::info!(leader = holder, "standing by");
                }
                told = holder;
                // Twice as often as the leader renews: the sooner a renewal is seen, the sooner its end is known.
                let poll = self.timing.retry_period / 2;
                match self.sight.decide(&self.me, false, now) {
                    Step::Wait { until } => poll.min(until.saturating_sub(now)),
                    Step::Claim { .. } | Step::Lost { .. } => poll,
                }
            };
            sleep(pause.max(Duration::from_millis(10))).await;
        }
    }

    /// One turn: `Some` when the lease is lost, with the time that is left to finish what was begun.
    async fn turn(&mut self) -> Option<Duration> {
        // A standby looks each time. The leader knows the lease; when somebody wrote it, the write fails, and it looks.
        let mut looks = self.leads_until.is_none();
        for _ in 0..MOST_TRIES {
            if let Some(grace) = self.given_up() {
                return Some(grace);
            }
            if looks && let Err(error) = self.look().await {
                tracing::warn!(error = causes(&error), "the lease cannot be read");
                self.was_in_vain();
                return None;
            }
            let over = match self.sight.decide(&self.me, self.leads_until.is_some(), clock::steady()) {
                Step::Claim { over } => over,
                Step::Wait { .. } => {
                    self.in_vain_since.store(0, Ordering::Relaxed);
                    return None;
                }
                Step::Lost { to } => {
                    tracing::error!(leader = to, "the lease is in other hands: this process ends");
                    return Some(Duration::ZERO);
                }
            };
            match self.claim(over).await {
                Ok(()) => {
                    self.in_vain_since.store(0, Ordering::Relaxed);
                    return None;
                }
                Err(ApiError::Conflict | ApiError::AlreadyExists | ApiError::NotFound) => looks = true,
                Err(error) => {
                    tracing::warn!(error = causes(&error), "the lease cannot be written");
                    self.was_in_vain();
                    return None;
                }
            }
        }
        None
    }

    fn was_in_vain(&self) {
        let now = millis(clock::steady()).max(1);
        // Since the first time.
        let _ = self.in_vain_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The renew deadline has passed: how long the lease still runs.
    fn given_up(&self) -> Option<Duration> {
        let leads_until = self.leads_until?;
        let now = clock::steady();
        if now < leads_until {
            return None;
        }
        let runs_out = leads_until + self.timing.lease_duration.saturating_sub(self.timing.renew_deadline);
        tracing::error!(
            renew_deadline = self.timing.renew_deadline.as_secs(),
            "the lease could not be renewed in time: this process ends"
        );
        Some(runs_out.saturating_sub(now))
    }

    /// A call may take half of the renew deadline, and never longer than this process may lead: one that hangs must
    /// leave time for another.
    fn patience(&self) -> Duration {
        let half = self.timing.renew_deadline / 2;
        self.leads_until.map_or(half, |until| half.min(until.saturating_sub(clock::steady())))
    }

    async fn look(&mut self) -> Result<(), ApiError> {
        let seen = match self.within(self.leases.get(&self.name)).await {
            Ok(lease) => Some(lease),
            Err(ApiError::NotFound) => None,
            Err(error) => return Err(error),
        };
        self.take_in(seen);
        Ok(())
    }

    async fn within<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
        timeout(self.patience(), call(request)).await.unwrap_or(Err(ApiError::Unavailable(None)))
    }

    fn take_in(&mut self, lease: Option<Lease>) {
        let record = lease.as_ref().map(record);
        self.sight.take_in(record, &self.me, self.timing.lease_duration, clock::steady());
        self.stored = lease;
    }

    async fn claim(&mut self, over: Option<String>) -> Result<(), ApiError> {
        // Counted from before the write: what others count from is after it.
        let sent_at = clock::steady();
        let lease = self.lease(over.clone(), Some(self.me.clone()));
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        let written = match over {
            Some(_) => self.within(self.leases.replace(&self.name, &params, &lease)).await?,
            None => self.within(self.leases.create(&params, &lease)).await?,
        };
        self.take_in(Some(written));
        let leads_until = sent_at + self.timing.renew_deadline;
        self.until.store(millis(leads_until), Ordering::Relaxed);
        if self.leads_until.replace(leads_until).is_none() {
            tracing::info!(holder = self.me, lease = self.name, "leading");
            self.standing.send_replace(Standing::Leading);
        }
        Ok(())
    }

    /// Gives the lease back, if it is ours.
    async fn release(&mut self) {
        self.until.store(0, Ordering::Relaxed);
        if self.leads_until.is_none() {
            return;
        }
        for _ in 0..MOST_TRIES {
            let Step::Claim { over: Some(over) } = self.sight.decide(&self.me, true, clock::steady()) else { return };
            let lease = self.lease(Some(over), None);
            let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
            match call(self.leases.replace(&self.name, &params, &lease)).await {
                Ok(_) => {
                    tracing::info!(lease = self.name, "lease released");
                    return;
                }
                // A renewal that was broken off may have arrived.
                Err(ApiError::Conflict) => drop(self.look().await),
                Err(error) => {
                    tracing::warn!(error = causes(&error), "the lease could not be released");
                    return;
                }
            }
        }
    }

    /// The lease to write. Times in it are for people; nobody decides by them.
    fn lease(&self, over: Option<String>, holder: Option<String>) -> Lease {
        // A write that changes nothing would not count as a sign of life: the fraction differs also where the wall clock
        // stands still or is stepped back.
        let fraction = i32::try_from(clock::steady().subsec_micros() * 1000).unwrap_or_default();
        let now = Timestamp::new(self.clock.now().unix(), fraction).ok().map(MicroTime);
        let before = self.stored.as_ref().and_then(|stored| stored.spec.clone()).unwrap_or_default();
        let is_transition = holder.is_some() && before.holder_identity != holder;
        let transitions = before.lease_transitions.unwrap_or_default().saturating_add(i32::from(is_transition));
        let metadata = self.stored.as_ref().filter(|_| over.is_some()).map(|stored| stored.metadata.clone());
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
                managed_fields: None,
                resource_version: over,
                ..metadata.unwrap_or_default()
            },
            spec: Some(LeaseSpec {
                acquire_time: if is_transition { now.clone() } else { before.acquire_time },
                holder_identity: holder,
                lease_duration_seconds: i32::try_from(self.timing.lease_duration.as_secs()).ok(),
                lease_transitions: Some(transitions),
                renew_time: now,
                ..LeaseSpec::default()
            }),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let promise = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        promise: promise.map(Duration::from_secs),
    }
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}
