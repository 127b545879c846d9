//! What the HTTP server's tasks and the tests' threads share: the state machine, its clock, and wake-ups.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::state::Zoho;

/// Tells the simulator the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub(super) struct Shared {
    inner: Mutex<Inner>,
    clock: Clock,
    /// Sent after each change of the state.
    pub(super) changed: watch::Sender<()>,
    /// Sent to let held requests go on.
    pub(super) released: watch::Sender<()>,
    /// Sent to end requests that would never be answered.
    pub(super) cleared: watch::Sender<()>,
}

struct Inner {
    zoho: Zoho,
    clock_offset: SignedDuration,
    latency: Duration,
}

impl Shared {
    pub(super) fn new(zoho: Zoho, clock: Clock, latency: Duration) -> Self {
        Self {
            inner: Mutex::new(Inner { zoho, clock_offset: SignedDuration::ZERO, latency }),
            clock,
            changed: watch::Sender::new(()),
            released: watch::Sender::new(()),
            cleared: watch::Sender::new(()),
        }
    }

    /// Reads or changes the state, at an instant that does not move meanwhile, and wakes who waits for a change.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Zoho, Timestamp) -> T) -> T {
        let result = {
            let mut inner = self.lock();
            let now = self.now(&inner);
            work(&mut inner.zoho, now)
        };
        self.changed.send_replace(());
        result
    }

    /// Reads the state without waking anybody.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Zoho, Timestamp) -> T) -> T {
        let inner = self.lock();
        let now = self.now(&inner);
        work(&inner.zoho, now)
    }

    pub(super) fn latency(&self) -> Duration {
        self.lock().latency
    }

    pub(super) fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    pub(super) fn set_clock_offset(&self, offset: SignedDuration) {
        self.lock().clock_offset = offset;
        self.changed.send_replace(());
    }

    pub(super) fn advance(&self, by: SignedDuration) {
        {
            let mut inner = self.lock();
            inner.clock_offset = inner.clock_offset.saturating_add(by);
        }
        self.changed.send_replace(());
    }

    pub(super) fn clear_scripts(&self) {
        self.with(|zoho, _| zoho.clear_scripts());
        self.cleared.send_replace(());
    }

    pub(super) fn release(&self) {
        self.released.send_replace(());
    }

    fn now(&self, inner: &Inner) -> Timestamp {
        let now = (self.clock)();
        now.checked_add(inner.clock_offset).unwrap_or(now)
    }

    /// A test that panicked inside the lock must not hide its message behind a second panic.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system's clock.
pub(super) fn system_clock() -> Clock {
    Arc::new(system_time)
}

#[expect(clippy::disallowed_methods, reason = "the simulator is a service of its own with its own clock")]
fn system_time() -> Timestamp {
    Timestamp::now()
}
