//! Where a flow is played: a world, an operator behind a proxy, a witness, and a clock that is pushed on.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use zoho_simulator::journal::Counts;
use zoho_testkit::fault_proxy::{FaultProxy, Verb};
use zoho_testkit::observer::Observer;

use super::boundary::Write;
use crate::support::operator::Operator;
use crate::support::world::World;

/// How long a restarted operator has before the clock is pushed on: whatever needs no waiting is done by then.
const FIRST_PUSH: Duration = Duration::from_millis(1200);
/// A running operator looks at the clock every three seconds, and begins with reads.
const NEXT_PUSH: Duration = Duration::from_secs(8);
/// How far, where the status does not say when something happens next: what may be on its way is waited for as long.
const PUSH: i64 = 31;
/// Nothing that a flow waits for is further away; a renewal is.
const FURTHEST: i64 = 700;
/// Nobody has asked for anything for so long: what was to be done is done.
const QUIET: Duration = Duration::from_millis(600);

pub(super) struct Stage {
    // In this order: first the operator ends, at last the world, which reads the logs.
    operator: Mutex<Option<Operator>>,
    pub(super) proxy: FaultProxy,
    pub(super) observer: Observer,
    began: Instant,
    /// Zoho's time then.
    origin: Timestamp,
    /// When the clock was pushed, and how far it was ahead from then on.
    pushes: Mutex<Vec<(Duration, i64)>>,
    notes: Mutex<Vec<(Duration, String)>>,
    /// Since when an operator that was killed has been back, or the clock was last moved since, and how long it has then.
    patience: Mutex<Option<(Instant, Duration)>>,
    /// Requests that the operators before the one that runs now have sent.
    sent_before: AtomicUsize,
    waited: AtomicI64,
    /// The token in the target when a step began.
    pub(super) before: Mutex<Option<String>>,
    mark: Mutex<Mark>,
    pub(super) world: World,
}

/// What had happened before the flow began.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    records: usize,
    pub(super) counts: Counts,
    /// Requests of others.
    pub(super) foreign: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    pub(super) async fn new(name: &str) -> Self {
        let world = World::new(name).await;
        world.zoho.set_latency(Duration::ZERO);
        Self {
            operator: Mutex::default(),
            proxy: world.proxy(),
            observer: world.observer(),
            began: Instant::now(),
            origin: world.zoho.now(),
            pushes: Mutex::default(),
            notes: Mutex::default(),
            patience: Mutex::default(),
            sent_before: AtomicUsize::new(0),
            waited: AtomicI64::new(0),
            before: Mutex::default(),
            mark: Mutex::default(),
            world,
        }
    }

    pub(super) fn note(&self, what: impl Into<String>) {
        lock(&self.notes).push((self.began.elapsed(), what.into()));
    }

    /// Starts an operator behind the proxy.
    pub(super) fn start(&self) {
        self.note("operator started");
        *lock(&self.operator) = Some(self.world.operator_behind(&self.proxy, &[]));
    }

    /// SIGKILL.
    pub(super) fn kill(&self) {
        if let Some(operator) = lock(&self.operator).take() {
            operator.kill();
        }
        self.note("operator killed");
    }

    pub(super) fn restart(&self) {
        self.sent_before.store(self.proxy.trace().len(), Ordering::Relaxed);
        self.start();
        *lock(&self.patience) = Some((Instant::now(), FIRST_PUSH));
    }

    /// Has the operator that runs now listed everything?
    pub(super) fn is_synced(&self) -> bool {
        lock(&self.operator).as_ref().is_some_and(|operator| operator.log().contains("watches have listed"))
    }

    /// Moves the clock on.
    pub(super) fn advance(&self, seconds: i64) {
        self.note(format!("clock moved on by {seconds} s"));
        let ahead = lock(&self.pushes).last().map_or(0, |(_, ahead)| *ahead) + seconds;
        lock(&self.pushes).push((self.began.elapsed(), ahead));
        self.world.advance(seconds);
        if let Some(patience) = &mut *lock(&self.patience) {
            *patience = (Instant::now(), NEXT_PUSH);
        }
    }

    /// Moves the clock to where the status says that something happens next, and so many seconds beyond.
    pub(super) async fn advance_to_next(&self, beyond: i64) {
        let next = self.world.get("one").await.status.and_then(|status| status.next_attempt_time);
        let left = next.map_or(PUSH, |next| next.unix() - self.world.zoho.now().as_second() + 1);
        self.advance(left.max(1) + beyond);
    }

    /// Instead of waiting, after a crash: moves the clock to what the operator waits for. While it starts or asks for anything
    /// it does not wait, however slow the machine is.
    pub(super) async fn push(&self) {
        if !self.is_synced() {
            if let Some((since, _)) = &mut *lock(&self.patience) {
                *since = Instant::now();
            }
            return;
        }
        if lock(&self.patience).is_none_or(|(since, patience)| since.elapsed() < patience) || !self.is_quiet() {
            return;
        }
        let next = self.world.get("one").await.status.and_then(|status| status.next_attempt_time);
        let left = next.map(|next| next.unix() - self.world.zoho.now().as_second() + 1);
        let by = left.filter(|left| (1..FURTHEST).contains(left)).unwrap_or(PUSH);
        self.waited.fetch_add(by, Ordering::Relaxed);
        self.advance(by);
    }

    /// For how long, by the clock, the operator that was started again had to be waited for.
    pub(super) fn waited(&self) -> i64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// From here on it counts.
    pub(super) fn set_mark(&self, foreign: u64) {
        self.note("the flow begins");
        let (records, counts) = (self.proxy.trace().len(), self.world.zoho.stats().token);
        *lock(&self.mark) = Mark { records, counts, foreign };
    }

    pub(super) fn mark(&self) -> Mark {
        lock(&self.mark).clone()
    }

    /// When a request came to Zoho, whose clock is pushed on.
    fn real(&self, at: Timestamp) -> Duration {
        let since = Duration::try_from(at.duration_since(self.origin)).unwrap_or_default();
        let pushes = lock(&self.pushes);
        let unpushed = pushes.iter().rev().find_map(|(pushed, ahead)| {
            let real = since.checked_sub(Duration::from_secs(u64::try_from(*ahead).ok()?))?;
            (real >= *pushed).then_some(real)
        });
        unpushed.unwrap_or(since)
    }

    /// A time of the proxy's trace.
    fn since(&self, at: Duration) -> Duration {
        at.saturating_sub(self.began.saturating_duration_since(self.proxy.started()))
    }

    /// Everything that was changed since the flow began, in order.
    pub(super) fn writes(&self) -> Vec<Write> {
        let mark = self.mark();
        let calls = self.proxy.trace().into_iter().skip(mark.records).filter_map(|record| {
            let write = Write::of(&record.call, &self.world.operator_namespace)?;
            Some((self.since(record.at), write))
        });
        in_time(calls.chain(self.posts().map(|at| (at, Write::Post))))
    }

    /// When ledgers were written since the flow began, each once that was carried out, and when requests were sent, which are
    /// marked; in order.
    pub(super) fn reservations(&self) -> Vec<(Duration, bool)> {
        let is_carried_out = |status: Option<u16>| status.is_some_and(|status| (200..300).contains(&status));
        let ledgers = self.proxy.trace().into_iter().skip(self.mark().records).filter_map(|record| {
            let write = Write::of(&record.call, &self.world.operator_namespace)?;
            let took = record.took.filter(|_| write.is_ledger() && is_carried_out(record.status))?;
            Some(self.since(record.at + took))
        });
        let all = ledgers.map(|at| (at, (at, false))).chain(self.posts().map(|at| (at, (at, true))));
        in_time(all)
    }

    /// When requests have come to Zoho since the flow began.
    fn posts(&self) -> impl Iterator<Item = Duration> {
        let sent = self.mark().counts.posts;
        self.world.zoho.log().into_iter().filter(move |record| record.number > sent).map(|record| self.real(record.at))
    }

    /// Has nothing been asked for, and nothing been without an answer, for a while?
    pub(super) fn is_quiet(&self) -> bool {
        let trace = self.proxy.trace();
        let now = self.proxy.started().elapsed();
        let calls = trace.iter().skip(self.sent_before.load(Ordering::Relaxed));
        let is_quiet = calls.filter(|record| record.call.verb != Verb::Watch).all(|record| match record.took {
            Some(took) => record.at + took + QUIET < now,
            // What a rule keeps from the API server is not answered.
            None => !record.fault.is_empty() && record.at + QUIET < now,
        });
        let is_settled = lock(&self.patience).is_none_or(|(since, _)| since.elapsed() > QUIET);
        is_quiet && is_settled && self.world.zoho.stats().token.in_flight == 0
    }

    /// Everything that went to the API server and to Zoho, and what was done to the operator, in order.
    pub(super) fn transcript(&self) -> String {
        let calls = self.proxy.trace().into_iter().map(|record| {
            let text = record.to_string();
            // Without its own time.
            (self.since(record.at), text.get(10..).unwrap_or_default().to_owned())
        });
        let posts = self.world.zoho.log().into_iter().map(|record| {
            let text = format!("POST to Zoho, {:?}, {:?}, {:?}", record.outcome, record.script, record.delivery);
            (self.real(record.at), text)
        });
        let notes = lock(&self.notes).clone();
        let notes = notes.into_iter().map(|(at, note)| (at, format!("-- {note}")));
        let mut lines: Vec<(Duration, String)> = calls.chain(posts).chain(notes).collect();
        lines.sort_by_key(|(at, _)| *at);
        lines.into_iter().fold(String::new(), |mut all, (at, line)| {
            let _ = writeln!(all, "{:>9.3} {line}", at.as_secs_f64());
            all
        })
    }

    /// The last lines of the operator's own log.
    pub(super) fn last_words(&self) -> String {
        let log = lock(&self.operator).as_ref().map(Operator::log).unwrap_or_default();
        let ours: Vec<&str> = log.lines().filter(|line| line.contains("zoho_operator")).collect();
        ours[ours.len().saturating_sub(12)..].join("\n")
    }
}

fn in_time<T>(events: impl Iterator<Item = (Duration, T)>) -> Vec<T> {
    let mut events: Vec<(Duration, T)> = events.collect();
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| event).collect()
}
