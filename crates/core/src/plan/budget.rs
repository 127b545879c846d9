//! May one more token be minted now? One pure function over a ledger, called by the runtime, the property tests and
//! the model.
//!
//! Zoho allows ten mints in ten minutes and ten living tokens for each refresh token; the eleventh living token silently
//! kills the oldest, which someone is using. Every attempt is reserved in the ledger before it is sent, so what the
//! ledger holds is never less than what the server may have done.

use std::time::Duration;

use super::backoff;
use super::guard::{self, Guard};
use super::renewal::CLOCK_TOLERANCE;
use zoho_api::names::{Holder, InputsDigest};
use zoho_api::{Attempt, Outcome, Reason, Time, Verdict, ZohoMintLedgerSpec};

/// Span in which Zoho counts mints.
pub const WINDOW: Duration = Duration::from_secs(600);
/// Life that an attempt of unknown outcome is counted with: the longest that Zoho gives.
pub const FULL_LIFE: Duration = Duration::from_secs(3600);
/// A token is counted this much longer than it lives: clocks differ, requests travel.
pub const LIFE_SLACK: Duration = Duration::from_secs(30);
/// A reservation is spent within this time or not at all.
pub const SPEND_WITHIN: Duration = Duration::from_secs(10);
/// An entry of another holder without an outcome may still be on its way for this long.
pub const IN_FLIGHT: Duration = Duration::from_secs(30);
/// Entries are forgotten after this: long enough that a clock stepped forward by an hour forgets nothing that matters.
pub const KEPT: Duration = Duration::from_secs(3 * 3600);
/// A permanent verdict is asked about once more after this, before it is believed.
pub const CONFIRM_AFTER: Duration = Duration::from_secs(60);
/// A confirmed verdict is asked about again after this.
pub const PARKED: Duration = Duration::from_secs(6 * 3600);
/// The longest silence that a throttle is met with.
pub const LONGEST_THROTTLE: Duration = Duration::from_secs(3600);
/// Mints that are merely wanted leave this many living tokens at most before them.
const WANTED_MAX_LIVE: usize = 4;
/// Attempts in ten minutes that inputs which never minted may use, where others have minted: those of namespaces that have minted
/// with the ledger, and those of all others. So many of the latter may count as living tokens, too.
const UNPROVEN_ATTEMPTS: usize = 2;
/// Living tokens presumed where the record is lost, and how many the limit leaves beside them: with a small limit, too, a
/// renewal waits for the ten minutes of the presumed requests and not for the hour of the presumed tokens.
const PRESUMED_LIVE: usize = 5;
const BESIDE_PRESUMED: usize = 2;

/// Our own limits for one ledger, below Zoho's published ten and ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Attempts that may have reached the server in ten minutes.
    pub attempts: usize,
    /// Tokens that may be alive.
    pub live: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { attempts: 8, live: 7 }
    }
}

/// How much the token is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// There is no living token, or it is due for renewal: may use the whole budget.
    Needed,
    /// A person asked while a good token stands: must leave room for what is needed.
    Wanted,
}

/// Who asks for a mint, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Keyed hash of everything that would be sent.
    pub inputs: &'a InputsDigest,
    /// How much the token is missed.
    pub need: Need,
    /// A person asked for it: a parked verdict is tried again.
    pub asked: bool,
    /// This process.
    pub holder: &'a Holder,
    /// Attempts with these inputs, and those that minted, are at least this far apart; see `issuer::Terms`.
    pub spacing: Duration,
    /// It is a login: too many failed ones lock the account.
    pub login: bool,
    /// Namespace of the credential that it is for.
    pub namespace: &'a str,
}

/// What the ledger says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Reserve and send.
    Go,
    /// Not before `until`.
    Wait {
        /// The next instant at which the answer may change by itself.
        until: Time,
        /// What stands in the way.
        why: Hold,
    },
    /// Refused for good; asked again at `until`, on request, or when the inputs change.
    Refuse {
        /// What the server said, twice.
        verdict: Verdict,
        /// When it is asked about again by itself, if ever.
        until: Option<Time>,
    },
}

/// What stands in the way of a mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Another process may be minting right now.
    InFlight,
    /// Zoho said that there were too many requests.
    Throttled,
    /// A permanent refusal waits for its confirmation.
    Confirming(Verdict),
    /// The last attempt failed.
    BackOff,
    /// Too many attempts in ten minutes.
    WindowFull,
    /// Too many tokens may be alive.
    LiveFull,
    /// Attempts that use one-time passwords must be further apart.
    Spaced,
    /// It could do harm.
    Guarded(Guard),
}

/// A ledger as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none, and nothing says that there ever was.
    Absent,
    /// There is none although a target was minted from it, or it cannot be decoded.
    Lost,
    /// As stored.
    Present(ZohoMintLedgerSpec),
}

/// The ledger to count with: without what is over, with what lies in the future brought back to now, and with the
/// ten-minute window presumed full **once** where the record is lost or unreadable.
///
/// An entry from the future was made by a clock that has been set back since: it was made by now at the latest, which is
/// how it counts. Idempotent at the same `now`. [`mirror::LedgerMirror`](super::mirror::LedgerMirror) keeps what comes
/// out, so that nothing is brought back to a later and later now.
pub fn settle(found: Found, now: Time) -> ZohoMintLedgerSpec {
    let mut ledger = match found {
        Found::Absent => ZohoMintLedgerSpec::default(),
        Found::Lost => ZohoMintLedgerSpec { presumed_full_at: Some(now), ..Default::default() },
        Found::Present(ledger) => ledger,
    };
    let by_now = |at: Time| if at > now + CLOCK_TOLERANCE { now } else { at };
    for attempt in &mut ledger.attempts {
        attempt.at = by_now(attempt.at);
    }
    ledger.attempts.retain(|attempt| attempt.at + kept(attempt) > now);
    guard::settle(&mut ledger.proven, by_now);
    ledger.presumed_full_at = ledger.presumed_full_at.map(by_now).filter(|at| *at + KEPT > now);
    ledger.throttled_until =
        ledger.throttled_until.filter(|until| *until > now).map(|until| until.min(now + LONGEST_THROTTLE));
    for verdict in &mut ledger.verdicts {
        verdict.at = verdict.at.min(now);
    }
    ledger
}

/// Was something in the record written by a clock that has been set back since?
pub fn is_from_the_future(ledger: &ZohoMintLedgerSpec, now: Time) -> bool {
    let horizon = now + CLOCK_TOLERANCE;
    let instants = ledger.attempts.iter().map(|attempt| attempt.at);
    let instants = instants.chain(ledger.verdicts.iter().map(|verdict| verdict.at)).chain(ledger.presumed_full_at);
    let instants = instants.chain(ledger.proven.iter().map(|proven| proven.at));
    instants.max().is_some_and(|latest| latest > horizon)
        || ledger.throttled_until.is_some_and(|until| until > horizon + LONGEST_THROTTLE)
}

/// May one more token be minted? Total and pure; `ledger` comes from [`settle`] with the same `now`.
pub fn account(ledger: &ZohoMintLedgerSpec, request: &Request<'_>, limits: Limits, now: Time) -> Ruling {
    if let Some(until) = in_flight(ledger, request.holder, now) {
        return Ruling::Wait { until, why: Hold::InFlight };
    }
    if let Some(until) = ledger.throttled_until.filter(|until| *until > now) {
        return Ruling::Wait { until, why: Hold::Throttled };
    }
    if let Some(answer) = verdict(ledger, request, now) {
        return answer;
    }
    if let Some((until, why)) = guard::held(ledger, request, now) {
        return Ruling::Wait { until, why };
    }
    let holds = [
        (backoff::not_before(&ledger.attempts, request.inputs), Hold::BackOff),
        (window_free_at(ledger, request, limits), Hold::WindowFull),
        (guesses_free_at(ledger, request), Hold::LiveFull),
        (live_free_at(ledger, request.need, limits, now), Hold::LiveFull),
        (spaced_at(ledger, request), Hold::Spaced),
    ];
    let pending = holds.into_iter().filter_map(|(until, why)| Some((until.filter(|until| *until > now)?, why)));
    match pending.max_by_key(|(until, _)| *until) {
        Some((until, why)) => Ruling::Wait { until, why },
        None => Ruling::Go,
    }
}

/// How many tokens of this ledger may be alive at `now`.
pub fn live(ledger: &ZohoMintLedgerSpec, limits: Limits, now: Time) -> usize {
    deaths(ledger, limits).into_iter().filter(|death| *death > now).count()
}

/// How many attempts may have reached the server in the ten minutes before `now`.
pub fn attempts_in_window(ledger: &ZohoMintLedgerSpec, limits: Limits, now: Time) -> usize {
    departures(ledger, limits, |_| true).into_iter().filter(|leaves| *leaves > now).count()
}

/// How many attempts may have reached the server in the ten minutes up to the last one.
pub fn attempts_before_last(ledger: &ZohoMintLedgerSpec) -> usize {
    let reached = || ledger.attempts.iter().filter(|attempt| attempt.outcome != Some(Outcome::NotSent));
    let last = reached().map(|attempt| attempt.at).max();
    reached().filter(|attempt| last.is_some_and(|last| attempt.at + WINDOW > last)).count()
}

/// Has the server refused these inputs for good, as far as it was asked?
pub fn is_refused(ledger: &ZohoMintLedgerSpec, inputs: &InputsDigest) -> bool {
    ledger.verdicts.iter().any(|verdict| verdict.inputs == *inputs)
}

/// The confirmed word of the server that the refresh token of these inputs is revoked, where it stands: Zoho has ended its access
/// tokens with it.
pub fn ended<'a>(ledger: &'a ZohoMintLedgerSpec, inputs: &InputsDigest) -> Option<&'a Verdict> {
    let is_it = |verdict: &&Verdict| {
        verdict.confirmed && verdict.inputs == *inputs && verdict.reason == Reason::RefreshTokenRejected.as_str()
    };
    ledger.verdicts.iter().find(is_it)
}

/// How long an attempt is kept. A failed login counts for a day, and a later one that succeeded with it.
fn kept(attempt: &Attempt) -> Duration {
    if attempt.login && attempt.outcome != Some(Outcome::NotSent) { guard::DAY } else { KEPT }
}

fn in_flight(ledger: &ZohoMintLedgerSpec, holder: &Holder, now: Time) -> Option<Time> {
    ledger
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome.is_none() && attempt.holder != *holder)
        .map(|attempt| attempt.at + IN_FLIGHT)
        .filter(|until| *until > now)
        .max()
}

fn verdict(ledger: &ZohoMintLedgerSpec, request: &Request<'_>, now: Time) -> Option<Ruling> {
    let verdict = ledger.verdicts.iter().find(|verdict| verdict.inputs == *request.inputs)?;
    if verdict.confirmed {
        let is_final = verdict.reason.parse().is_ok_and(Reason::is_final);
        let until = if is_final { guard::repeated_at(ledger, verdict) } else { Some(verdict.at + PARKED) };
        let stands = !request.asked && until.is_none_or(|until| until > now);
        stands.then(|| Ruling::Refuse { verdict: verdict.clone(), until })
    } else {
        let until = verdict.at + CONFIRM_AFTER;
        (until > now).then(|| Ruling::Wait { until, why: Hold::Confirming(verdict.clone()) })
    }
}

/// When each attempt that may have reached the server leaves the ten-minute window, sorted.
fn departures(ledger: &ZohoMintLedgerSpec, limits: Limits, counts: impl Fn(&Attempt) -> bool) -> Vec<Time> {
    let reached = ledger.attempts.iter().filter(|attempt| attempt.outcome != Some(Outcome::NotSent) && counts(attempt));
    let presumed = ledger.presumed_full_at.iter().flat_map(|at| std::iter::repeat_n(*at, limits.attempts));
    let mut leaves: Vec<Time> = reached.map(|attempt| attempt.at).chain(presumed).map(|at| at + WINDOW).collect();
    leaves.sort_unstable();
    leaves
}

/// When each token that may be alive dies, slack included, sorted.
fn deaths(ledger: &ZohoMintLedgerSpec, limits: Limits) -> Vec<Time> {
    let minted = ledger
        .attempts
        .iter()
        .filter(|attempt| !matches!(attempt.outcome, Some(Outcome::NotMinted | Outcome::NotSent)))
        .map(|attempt| attempt.at + life(attempt) + LIFE_SLACK);
    let count = limits.live.saturating_sub(BESIDE_PRESUMED).min(PRESUMED_LIVE);
    let presumed = ledger.presumed_full_at.iter().map(|at| *at + FULL_LIFE + LIFE_SLACK);
    let presumed = presumed.flat_map(|dies| std::iter::repeat_n(dies, count));
    let mut deaths: Vec<Time> = minted.chain(presumed).collect();
    deaths.sort_unstable();
    deaths
}

fn life(attempt: &Attempt) -> Duration {
    let known = attempt.life.filter(|_| attempt.outcome == Some(Outcome::Minted));
    known.and_then(|seconds| u64::try_from(seconds).ok()).map_or(FULL_LIFE, Duration::from_secs).min(FULL_LIFE)
}

/// When fewer than `room` of the sorted instants lie ahead.
fn fewer_than(room: usize, instants: &[Time]) -> Option<Time> {
    match instants.len().checked_sub(room.max(1)) {
        Some(index) => instants.get(index).copied(),
        None => None,
    }
}

fn window_free_at(ledger: &ZohoMintLedgerSpec, request: &Request<'_>, limits: Limits) -> Option<Time> {
    let all = fewer_than(limits.attempts, &departures(ledger, limits, |_| true));
    if !is_guess(ledger, request.inputs) {
        return all;
    }
    // Somebody who holds the refresh token but guesses the rest must not use up the attempts of its owner, nor those that the
    // owner's changed inputs need.
    let is_owner = guard::is_owner(ledger, request.namespace);
    let competes = |attempt: &Attempt| {
        is_guess(ledger, &attempt.inputs) && guard::is_owner(ledger, &attempt.namespace) == is_owner
    };
    let unproven = ZohoMintLedgerSpec { presumed_full_at: None, ..ledger.clone() };
    all.max(fewer_than(UNPROVEN_ATTEMPTS, &departures(&unproven, limits, competes)))
}

/// When fewer guesses of others than the owner count as living tokens, because nobody knows how they ended: they take places
/// that the owner needs.
fn guesses_free_at(ledger: &ZohoMintLedgerSpec, request: &Request<'_>) -> Option<Time> {
    if !is_guess(ledger, request.inputs) || guard::is_owner(ledger, request.namespace) {
        return None;
    }
    let counts = |attempt: &&Attempt| {
        matches!(attempt.outcome, None | Some(Outcome::Unknown))
            && is_guess(ledger, &attempt.inputs)
            && !guard::is_owner(ledger, &attempt.namespace)
    };
    let unknown = ledger.attempts.iter().filter(counts);
    let mut deaths: Vec<Time> = unknown.map(|attempt| attempt.at + FULL_LIFE + LIFE_SLACK).collect();
    deaths.sort_unstable();
    fewer_than(UNPROVEN_ATTEMPTS, &deaths)
}

/// Did these inputs never mint, where others have?
fn is_guess(ledger: &ZohoMintLedgerSpec, inputs: &InputsDigest) -> bool {
    guard::is_anything_proven(ledger) && !guard::is_proven(ledger, inputs)
}

fn spaced_at(ledger: &ZohoMintLedgerSpec, request: &Request<'_>) -> Option<Time> {
    if request.spacing.is_zero() {
        return None;
    }
    let uses_one = |attempt: &&Attempt| match attempt.outcome {
        Some(Outcome::NotSent) => false,
        // Whatever the inputs, it may have been of the same seed.
        Some(Outcome::Minted | Outcome::Unknown) | None => true,
        Some(Outcome::NotMinted) => attempt.inputs == *request.inputs,
    };
    ledger.attempts.iter().filter(uses_one).map(|attempt| attempt.at + request.spacing).max()
}

fn live_free_at(ledger: &ZohoMintLedgerSpec, need: Need, limits: Limits, now: Time) -> Option<Time> {
    let deaths: Vec<Time> = deaths(ledger, limits).into_iter().filter(|death| *death > now).collect();
    match need {
        Need::Needed => fewer_than(limits.live, &deaths),
        Need::Wanted => fewer_than(limits.live.min(WANTED_MAX_LIVE + 1), &deaths),
    }
}
