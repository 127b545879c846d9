//! What the simulator saw: counts, and the ordered log of token requests. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::form::Violation;

/// The log keeps this many of the latest requests; the counts keep all.
const KEPT_RECORDS: usize = 100_000;

/// What a request to the token endpoint came to, whatever the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing so far, and for good where a script answers without minting.
    Untreated,
    /// An access token was minted.
    Minted,
    /// Refused with this OAuth error code.
    Refused(&'static str),
    /// Refused by the limit on mints, or by a scripted throttle.
    Throttled,
    /// The request could not be read.
    Unreadable(Violation),
}

/// How far the answer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// The client waits.
    Waiting,
    /// An answer with this status was handed over.
    Answered(u16),
    /// A script withheld the answer and closed the connection.
    Cut,
    /// The client went away first.
    Abandoned,
}

/// One request to the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Place in the order of arrival, from 1.
    pub number: u64,
    /// When it arrived, by the simulator's clock.
    pub at: Timestamp,
    /// The refresh token it brought.
    pub refresh_token: Option<Arc<str>>,
    /// Its place among the requests with this refresh token, from 1; 0 without one.
    pub attempt: u64,
    /// What it came to.
    pub outcome: Outcome,
    /// The access token that it minted.
    pub access_token: Option<Arc<str>>,
    /// The script that was played, by [`Reply::kind`](super::script::Reply::kind).
    pub script: Option<&'static str>,
    /// How far the answer got.
    pub delivery: Delivery,
}

/// Counts of requests to the token endpoint: of all, or of one refresh token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests that arrived.
    pub posts: u64,
    /// Access tokens minted, hidden ones included.
    pub mints: u64,
    /// Requests refused by the limit on mints, or by a scripted throttle.
    pub throttled: u64,
    /// Requests refused with an OAuth error code.
    pub refused: u64,
    /// Access tokens that died early because one too many was minted.
    pub evictions: u64,
    /// Requests whose client went away before the answer.
    pub abandoned: u64,
    /// Requests that are waiting for their answer now.
    pub in_flight: u64,
    /// The highest `in_flight` so far.
    pub max_in_flight: u64,
}

/// All counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests to the token endpoint.
    pub token: Counts,
    /// Revocations that found their token.
    pub revocations: u64,
    /// Product calls with a token that lived.
    pub product_ok: u64,
    /// Product calls without one.
    pub product_refused: u64,
    /// Requests to addresses that do not exist.
    pub strays: u64,
    /// Breaches of the rules; [`Journal::violations`] names them.
    pub violations: u64,
}

/// Counts and log.
#[derive(Debug, Default)]
pub struct Journal {
    pub(super) stats: Stats,
    by_refresh_token: HashMap<Arc<str>, Counts>,
    records: VecDeque<Record>,
    violations: Vec<Violation>,
}

impl Journal {
    /// All counts.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The counts of one refresh token, also of one that was never registered.
    pub fn counts(&self, refresh_token: &str) -> Counts {
        self.by_refresh_token.get(refresh_token).cloned().unwrap_or_default()
    }

    /// The requests to the token endpoint in order of arrival; the latest 100 000.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.iter()
    }

    /// Breaches of the rules, in order. No test should leave any behind that it did not mean.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(super) fn violation(&mut self, violation: Violation) {
        self.stats.violations += 1;
        // A broken client in a long run must not fill the memory; the count goes on.
        if self.violations.len() < KEPT_RECORDS {
            self.violations.push(violation);
        }
    }

    /// Notes an arrival and gives its number.
    pub(super) fn arrived(&mut self, refresh_token: Option<&str>, script: Option<&'static str>, now: Timestamp) -> u64 {
        let refresh_token = refresh_token.map(|text| self.shared_text(text));
        let mut attempt = 0;
        self.count(refresh_token.as_ref(), |counts| {
            counts.posts += 1;
            counts.in_flight += 1;
            counts.max_in_flight = counts.max_in_flight.max(counts.in_flight);
            attempt = counts.posts;
        });
        let number = self.stats.token.posts;
        if self.records.len() == KEPT_RECORDS {
            self.records.pop_front();
        }
        self.records.push_back(Record {
            number,
            at: now,
            attempt: if refresh_token.is_some() { attempt } else { 0 },
            refresh_token,
            outcome: Outcome::Untreated,
            access_token: None,
            script,
            delivery: Delivery::Waiting,
        });
        number
    }

    /// Notes what request `number` came to.
    pub(super) fn treated(
        &mut self,
        number: u64,
        refresh_token: Option<&str>,
        outcome: Outcome,
        access_token: Option<Arc<str>>,
    ) {
        let refresh_token = refresh_token.map(|text| self.shared_text(text));
        self.count(refresh_token.as_ref(), |counts| match &outcome {
            Outcome::Minted => counts.mints += 1,
            Outcome::Throttled => counts.throttled += 1,
            Outcome::Refused(_) => counts.refused += 1,
            Outcome::Untreated | Outcome::Unreadable(_) => {}
        });
        if let Some(record) = self.record_mut(number) {
            record.outcome = outcome;
            record.access_token = access_token;
        }
    }

    /// Notes that an access token of `refresh_token` was pushed out.
    pub(super) fn evicted(&mut self, refresh_token: &Arc<str>) {
        self.count(Some(refresh_token), |counts| counts.evictions += 1);
    }

    /// Notes the end of request `number`.
    pub(super) fn delivered(&mut self, number: u64, refresh_token: Option<&str>, delivery: Delivery) {
        let refresh_token = refresh_token.map(|text| self.shared_text(text));
        self.count(refresh_token.as_ref(), |counts| {
            counts.in_flight = counts.in_flight.saturating_sub(1);
            counts.abandoned += u64::from(delivery == Delivery::Abandoned);
        });
        if let Some(record) = self.record_mut(number) {
            record.delivery = delivery;
        }
    }

    /// Applies a change to the total and to the refresh token's counts, to the latter last.
    fn count(&mut self, refresh_token: Option<&Arc<str>>, mut change: impl FnMut(&mut Counts)) {
        change(&mut self.stats.token);
        if let Some(refresh_token) = refresh_token {
            let counts = self.by_refresh_token.entry(refresh_token.clone());
            change(counts.or_default());
        }
    }

    fn record_mut(&mut self, number: u64) -> Option<&mut Record> {
        let first = self.records.front()?.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.records.get_mut(index)
    }

    /// The one copy of a refresh token that the whole log points to.
    fn shared_text(&self, text: &str) -> Arc<str> {
        self.by_refresh_token.get_key_value(text).map_or_else(|| Arc::from(text), |(key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_forgets_the_oldest_and_counts_go_on() {
        let mut journal = Journal::default();
        let now = Timestamp::UNIX_EPOCH;
        let count = u64::try_from(KEPT_RECORDS).expect("fits") + 2;
        for _ in 0..count {
            let number = journal.arrived(Some("r"), None, now);
            journal.delivered(number, Some("r"), Delivery::Answered(200));
        }
        assert_eq!(journal.records().next().map(|record| record.number), Some(3));
        assert_eq!(journal.counts("r").posts, count);
        assert_eq!(journal.stats().token.in_flight, 0);
        journal.delivered(1, Some("r"), Delivery::Cut);
        journal.delivered(count, Some("r"), Delivery::Cut);
        let last = journal.records().next_back().expect("kept");
        assert_eq!((last.number, last.delivery), (count, Delivery::Cut));
    }

    #[test]
    fn requests_in_flight_are_counted_for_all_and_for_each() {
        let mut journal = Journal::default();
        let now = Timestamp::UNIX_EPOCH;
        let first = journal.arrived(Some("a"), None, now);
        let second = journal.arrived(Some("b"), None, now);
        journal.delivered(first, Some("a"), Delivery::Abandoned);
        journal.delivered(second, Some("b"), Delivery::Answered(200));
        assert_eq!(journal.stats().token.max_in_flight, 2);
        assert_eq!(journal.counts("a").max_in_flight, 1);
        assert_eq!(journal.counts("a").abandoned, 1);
        assert_eq!(journal.counts("b").abandoned, 0);
    }
}
