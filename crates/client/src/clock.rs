//! The clocks: the only reader of the wall clock, and of the steady one that leases are counted by.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use zoho_api::Time;

/// Tells the time. Everything that decides takes an instant as an argument instead.
pub trait Clock: Send + Sync {
    /// Now, in whole seconds.
    fn now(&self) -> Time;
}

/// The system's clock. Built for tests, it also follows an offset in a file; see [`system`].
struct System {
    #[cfg(feature = "movable-clock")]
    offset: Option<std::path::PathBuf>,
}

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
    fn now(&self) -> Time {
        let now = Time::from(Timestamp::now());
        #[cfg(feature = "movable-clock")]
        let now = self.shifted(now);
        now
    }
}

#[cfg(feature = "movable-clock")]
impl System {
    /// Moves the wall clock while monotonic timers stand still, as a suspended machine or a stepped clock does; or stops it
    /// while they go on, so that all that a test does happens within a second.
    fn shifted(&self, now: Time) -> Time {
        let text = self.offset.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let number = |text: &str| text.trim().parse::<i64>().ok();
        match text.strip_prefix('@').and_then(number) {
            Some(stopped_at) => Time::from_unix(stopped_at),
            None => Time::from_unix(now.unix() + number(&text).unwrap_or(0)),
        }
    }
}

/// A steady clock: the time since some fixed moment in the life of this machine. Sleep of the machine counts, so a lease
/// is over on waking up. Steps of the wall clock do not show.
pub fn steady() -> Duration {
    #[cfg(target_os = "linux")]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let part = |part: i64| u64::try_from(part).unwrap_or_default();
        Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
    }
    #[cfg(not(target_os = "linux"))]
    {
        static STARTED: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
        STARTED.elapsed()
    }
}

/// The system's clock.
///
/// With feature `movable-clock` the file that `ZOHO_OPERATOR_CLOCK_OFFSET_FILE` names holds seconds to add, or `@` and the
/// Unix time at which the clock stands. It is read at every look.
pub fn system() -> Arc<dyn Clock> {
    Arc::new(System {
        #[cfg(feature = "movable-clock")]
        offset: clock_offset_file(),
    })
}

/// File with seconds to add to the wall clock.
#[cfg(feature = "movable-clock")]
#[expect(clippy::disallowed_methods, reason = "a variable for tests only; releases are built without the feature")]
fn clock_offset_file() -> Option<std::path::PathBuf> {
    std::env::var_os("ZOHO_OPERATOR_CLOCK_OFFSET_FILE").map(std::path::PathBuf::from)
}
