//! How many requests may be under way: so many to one host, so many a second from the whole process.
//!
//! A flight waits here *before* it reserves, so that waiting eats nothing of the time in which a reservation is spent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Requests to one host at once. A host that hangs holds up its own only.
const PER_HOST: usize = 32;

/// See the module. Hosts come from the operator's list, so their number is bounded.
pub(crate) struct Gate {
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    ticks: Option<AsyncMutex<Interval>>,
}

/// The right to have one request under way; given back when dropped.
pub(crate) struct Pass {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Gate {
    /// At most `mints_a_second` requests a second, 0 for no limit. Must be called within a tokio runtime.
    pub(crate) fn new(mints_a_second: u32) -> Self {
        let ticks = (mints_a_second > 0).then(|| {
            let mut ticks = interval(Duration::from_secs(1) / mints_a_second);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            AsyncMutex::new(ticks)
        });
        Self { hosts: Mutex::default(), ticks }
    }

    /// Waits until one more request to the host may be sent.
    pub(crate) async fn enter(&self, host: &str) -> Pass {
        let semaphore = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))).clone()
        };
        // The semaphore is never closed; were it, the request would not be limited.
        let permit = semaphore.acquire_owned().await.ok();
        if let Some(ticks) = &self.ticks {
            ticks.lock().await.tick().await;
        }
        Pass { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn host_that_hangs_holds_up_no_other() {
        let gate = Gate::new(0);
        let mut under_way = Vec::new();
        for _ in 0..PER_HOST {
            under_way.push(gate.enter("hanging").await);
        }
        assert!(timeout(Duration::from_secs(60), gate.enter("hanging")).await.is_err());
        assert!(timeout(Duration::from_millis(1), gate.enter("healthy")).await.is_ok());
        under_way.pop();
        assert!(timeout(Duration::from_millis(1), gate.enter("hanging")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn process_sends_no_more_a_second_than_it_may() {
        let gate = Gate::new(10);
        let started = Instant::now();
        for _ in 0..21 {
            drop(gate.enter("host").await);
        }
        let took = started.elapsed();
        assert!((Duration::from_millis(1990)..Duration::from_millis(2100)).contains(&took), "{took:?}");
    }
}
