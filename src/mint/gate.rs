//! How many requests may be under way: so many to one host, so many a second from the whole process.
//!
//! A flight waits here *before* it reserves, so that waiting eats nothing of the time in which a reservation is spent.
//! Namespaces share places and the rate, see [`places`](super::places).
//!
//! A host that hangs for some must not hold up the others who ask it. So a request that is not answered promptly leaves
//! its place to the next one and counts among the overdue, and who has just timed out waits for a place in a small share
//! of its own until it is answered again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::places::{Place, Places};

/// Requests to one host at once. A host that hangs holds up its own only.
const PER_HOST: usize = 32;
/// A request that takes longer than this leaves its place.
const PROMPT_WITHIN: Duration = Duration::from_secs(1);
/// Requests to one host at once that have left their place. Where there are more, they keep it.
const OVERDUE: usize = 96;
/// Requests to one host at once of those whose last one timed out.
const PROBES: usize = 4;
/// So many of a host are remembered to have timed out. Of the others it is found out again.
const MOST_REMEMBERED: usize = 10_000;

/// See the module. Hosts come from the operator's list, so their number is bounded.
pub(crate) struct Gate {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    rate: Option<Rate>,
}

/// So many a second.
struct Rate {
    /// One place: whoever has it waits for the next tick.
    turn: Places,
    ticks: AsyncMutex<Interval>,
}

struct Host {
    prompt: Places,
    overdue: Places,
    probes: Places,
    /// Whose last request timed out.
    timed_out: Mutex<HashSet<String>>,
}

impl Host {
    fn new() -> Self {
        Self {
            prompt: Places::new(PER_HOST),
            overdue: Places::new(OVERDUE),
            probes: Places::new(PROBES),
            timed_out: Mutex::default(),
        }
    }

    fn timed_out(&self) -> MutexGuard<'_, HashSet<String>> {
        self.timed_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer, or at once without one.
    Answered,
    /// In silence.
    TimedOut,
}

/// The right to have one request under way; given back when dropped.
pub(crate) struct Pass {
    host: Arc<Host>,
    namespace: Arc<str>,
    who: String,
    is_probe: bool,
    place: Place,
}

impl Pass {
    /// Drives the request. One that takes long leaves its place to the next.
    pub(crate) async fn carry<T>(&mut self, request: impl Future<Output = T>) -> T {
        tokio::pin!(request);
        if !self.is_probe {
            let leave = async {
                sleep(PROMPT_WITHIN).await;
                self.host.overdue.enter(&self.namespace).await
            };
            tokio::select! {
                answer = &mut request => return answer,
                overdue = leave => self.place = overdue,
            }
        }
        request.await
    }

    /// Says how the request ended, for the next one of the same.
    pub(crate) fn ended(self, end: End) {
        let mut timed_out = self.host.timed_out();
        match end {
            End::Answered => drop(timed_out.remove(&self.who)),
            End::TimedOut if timed_out.len() < MOST_REMEMBERED => drop(timed_out.insert(self.who.clone())),
            End::TimedOut => {}
        }
    }
}

impl Gate {
    /// At most `mints_a_second` requests a second, 0 for no limit. Must be called within a tokio runtime.
    pub(crate) fn new(mints_a_second: u32) -> Self {
        let rate = (mints_a_second > 0).then(|| {
            // No more than a billion a second: an interval must be longer than nothing.
            let every = (Duration::from_secs(1) / mints_a_second).max(Duration::from_nanos(1));
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Rate { turn: Places::new(1), ticks: AsyncMutex::new(ticks) }
        });
        Self { hosts: Mutex::default(), rate }
    }

    /// Waits until one more request to the host may be sent for an object of the namespace. `who` stands for what is sent:
    /// the same that timed out before waits apart.
    pub(crate) async fn enter(&self, host: &str, namespace: &Arc<str>, who: &str) -> Pass {
        let host = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Host::new())).clone()
        };
        let is_probe = host.timed_out().contains(who);
        let places = if is_probe { &host.probes } else { &host.prompt };
        let place = places.enter(namespace).await;
        if let Some(rate) = &self.rate {
            let _turn = rate.turn.enter(namespace).await;
            rate.ticks.lock().await.tick().await;
        }
        Pass { host, namespace: namespace.clone(), who: who.to_owned(), is_probe, place }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(15);

    /// Asks a host that answers after `takes`, or not at all, from a namespace of its own.
    fn ask(
        gate: &Arc<Gate>,
        host: &'static str,
        who: String,
        takes: Option<Duration>,
    ) -> tokio::task::JoinHandle<Duration> {
        ask_from(gate, host, who.as_str().into(), who, takes)
    }

    fn ask_from(
        gate: &Arc<Gate>,
        host: &'static str,
        namespace: Arc<str>,
        who: String,
        takes: Option<Duration>,
    ) -> tokio::task::JoinHandle<Duration> {
        let gate = gate.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            let mut pass = gate.enter(host, &namespace, &who).await;
            let waited = started.elapsed();
            pass.carry(sleep(takes.unwrap_or(TIMEOUT))).await;
            pass.ended(if takes.is_some() { End::Answered } else { End::TimedOut });
            waited
        })
    }

    async fn longest_wait(asked: Vec<tokio::task::JoinHandle<Duration>>) -> Duration {
        let mut longest = Duration::ZERO;
        for one in asked {
            longest = longest.max(one.await.unwrap());
        }
        longest
    }

    fn hanging(gate: &Arc<Gate>, count: usize) -> Vec<tokio::task::JoinHandle<Duration>> {
        (0..count).map(|number| ask(gate, "host", format!("hanging-{number}"), None)).collect()
    }

    fn healthy(gate: &Arc<Gate>, host: &'static str) -> Vec<tokio::task::JoinHandle<Duration>> {
        (0..40).map(|number| ask(gate, host, format!("healthy-{number}"), Some(Duration::from_millis(50)))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn sixty_that_hang_hold_up_others_of_that_host_by_two_seconds_at_most() {
        let gate = Arc::new(Gate::new(0));
        let first = hanging(&gate, 60);
        tokio::task::yield_now().await;
        let waited = longest_wait(healthy(&gate, "host")).await;
        assert!(waited <= Duration::from_secs(2), "{waited:?}");
        longest_wait(first).await;
        // When they come again nobody waits for them.
        let again = hanging(&gate, 60);
        tokio::task::yield_now().await;
        assert_eq!(longest_wait(healthy(&gate, "host")).await, Duration::from_millis(50), "40 in 32 places");
        drop(again);
    }

    #[tokio::test(start_paused = true)]
    async fn who_timed_out_waits_apart_until_it_is_answered() {
        let gate = Arc::new(Gate::new(0));
        longest_wait(hanging(&gate, 8)).await;
        let waited = longest_wait(hanging(&gate, 8)).await;
        assert_eq!(waited, TIMEOUT, "four at a time");
        for number in 0..8 {
            ask(&gate, "host", format!("hanging-{number}"), Some(Duration::ZERO)).await.unwrap();
        }
        assert_eq!(longest_wait(hanging(&gate, 8)).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn host_that_hangs_for_all_holds_up_no_other_and_has_a_limit() {
        let gate = Arc::new(Gate::new(0));
        let asked = hanging(&gate, 1000);
        tokio::time::advance(Duration::from_secs(5)).await;
        let places = |host: &Host| (host.prompt.free(), host.overdue.free());
        sleep(Duration::from_secs(5)).await;
        assert_eq!(places(&gate.hosts.lock().unwrap()["host"]), (0, 0), "32 and 96 are under way");
        assert!(timeout(Duration::from_secs(1), gate.enter("host", &"one more".into(), "one more")).await.is_err());
        assert_eq!(longest_wait(healthy(&gate, "other")).await, Duration::from_millis(50));
        drop(asked);
    }

    #[tokio::test(start_paused = true)]
    async fn namespace_with_hundreds_of_flights_holds_up_no_other() {
        for takes in [Some(Duration::from_millis(900)), None] {
            let gate = Arc::new(Gate::new(100));
            let hog: Vec<_> =
                (0..300).map(|one| ask_from(&gate, "host", "hog".into(), one.to_string(), takes)).collect();
            for round in 0..40 {
                sleep(Duration::from_millis(100)).await;
                let waited = ask(&gate, "host", format!("new-{round}"), Some(Duration::ZERO)).await.unwrap();
                assert!(
                    waited <= Duration::from_millis(20),
                    "{waited:?} in round {round}: a tick of the hog, then its own"
                );
            }
            assert!(hog.iter().any(|one| !one.is_finished()), "all the while");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn process_sends_no_more_a_second_than_it_may() {
        let gate = Gate::new(10);
        let started = Instant::now();
        for _ in 0..21 {
            drop(gate.enter("host", &"ns".into(), "who").await);
        }
        let took = started.elapsed();
        assert!((Duration::from_millis(1990)..Duration::from_millis(2100)).contains(&took), "{took:?}");
    }

    #[tokio::test]
    async fn any_rate_is_one_that_can_be_had() {
        for rate in [0, 1, 1_000_000_000, 4_000_000_000, u32::MAX] {
            drop(Gate::new(rate).enter("host", &"ns".into(), "who").await);
        }
    }
}
