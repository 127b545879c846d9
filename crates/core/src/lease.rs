//! What to do with the lease: pure. Moments are spans of this process's own steady clock.
//!
//! Clocks of different machines are never compared. Whether a holder is alive is told by the lease changing, as this
//! process sees it: a holder whose lease has not changed for the time that it promised has given up before.

use std::time::Duration;

/// A reading of this process's own steady clock; means nothing to any other process.
pub type Moment = Duration;

/// A holder that promises more than this is not believed: nobody would ever take over from it.
const LONGEST_PROMISE: Duration = Duration::from_secs(600);

/// The lease as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// resourceVersion: what changes with every renewal.
    pub version: String,
    /// Who holds it; nobody after a release.
    pub holder: Option<String>,
    /// How long after a renewal the holder may still act.
    pub promise: Option<Duration>,
}

/// The lease as this process has seen it.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    record: Option<Record>,
    /// Until then somebody else may act, also where the lease is gone meanwhile: deleting it stops nobody.
    held_until: Moment,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the lease with ourselves as the holder: over this version, or anew.
    Claim {
        /// The version that the write rests on.
        over: Option<String>,
    },
    /// Somebody else may hold it, until then at least.
    Wait {
        /// When to decide anew, if nothing is seen before.
        until: Moment,
    },
    /// It was ours, and somebody else has it.
    Lost {
        /// Who.
        to: String,
    },
}

impl Sight {
    /// Takes in the lease as it was read, or its absence. `seen_at` is a moment *after* the answer came, so that a
    /// promise is never counted from before it was made. `own` is the promise where the record has none.
    pub fn take_in(&mut self, record: Option<Record>, me: &str, own: Duration, seen_at: Moment) {
        self.held_until = match (&self.record, &record) {
            (Some(known), Some(seen)) if known.version == seen.version => self.held_until,
            (None, None) => self.held_until,
            // Deleted, perhaps right after somebody renewed it or took it over unseen.
            (Some(_), None) => self.held_until.max(seen_at + own),
            (_, Some(seen)) => match &seen.holder {
                Some(holder) if holder != me => seen_at + seen.promise.unwrap_or(own).min(LONGEST_PROMISE),
                Some(_) | None => seen_at,
            },
        };
        self.record = record;
    }

    /// Who holds it, as far as known.
    pub fn holder(&self) -> Option<&str> {
        self.record.as_ref()?.holder.as_deref()
    }

    /// What to do now. `leading`: this process holds the lease, as far as it knows.
    pub fn decide(&self, me: &str, leading: bool, now: Moment) -> Step {
        let over = self.record.as_ref().map(|record| record.version.clone());
        match self.holder() {
            Some(holder) if holder == me => Step::Claim { over },
            Some(holder) if leading => Step::Lost { to: holder.to_owned() },
            // Gone or cleared by somebody: until it is seen in other hands it is ours.
            None if leading => Step::Claim { over },
            Some(_) | None if now < self.held_until => Step::Wait { until: self.held_until },
            Some(_) | None => Step::Claim { over },
        }
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
