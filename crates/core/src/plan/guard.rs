//! What keeps accounts from being locked, and what is proven from being crowded out by what never was. Pure.
//!
//! A server locks an account after some failed logins, so few may fail, whoever sends them. And who only guesses inputs
//! shares the ledger with their owner: what the owner's inputs need stays free.

use std::time::Duration;

use zoho_api::names::InputsDigest;
use zoho_api::{Attempt, Outcome, Proven, Reason, Time, Verdict, ZohoMintLedgerSpec};

use super::budget::{Hold, PARKED, Request, WINDOW};

/// Inputs that minted and are remembered.
pub const MOST_PROVEN: usize = 8;
/// Verdicts on inputs that never minted. Those on proven ones have a place beside them.
pub const MOST_REFUSED: usize = 32;
/// For so long failed logins of one account are counted.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Logins of one account that may fail in a day. Servers lock at five, some at three.
const MOST_FAILED_LOGINS: usize = 2;
/// For so long nobody else's inputs are tried, after an account was last logged in to.
pub(crate) const ACCOUNT_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Namespaces that are remembered of proven inputs.
const MOST_NAMESPACES: usize = 16;
/// A refused login that worked before is tried again after this, once …
const FIRST_REPEAT: Duration = Duration::from_secs(3600);

/// Why inputs are held back that could do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The account is logged in to from other namespaces, with other inputs.
    OtherNamespace,
    /// As many logins of the account failed in a day as may.
    FailedLogins,
    /// Too many inputs with this refresh token or account were refused.
    Refusals,
    /// The object has brought too many refresh tokens or accounts, or its namespace has.
    NewLedgers,
    /// Too many logins failed at this server that had never worked, those of this namespace or all.
    FailedGuesses,
    /// The object has brought too many passwords for this account that never worked.
    Passwords,
}

impl Guard {
    /// May whoever is held back for this be guessing? Then nothing may tell that one guess is right.
    pub fn keeps_secret(self) -> bool {
        match self {
            Self::OtherNamespace | Self::Passwords => true,
            Self::FailedLogins | Self::Refusals | Self::NewLedgers | Self::FailedGuesses => false,
        }
    }
}

/// Did these inputs ever mint, as far as is remembered?
pub fn is_proven(ledger: &ZohoMintLedgerSpec, inputs: &InputsDigest) -> bool {
    ledger.proven.iter().any(|proven| proven.inputs == *inputs)
        || ledger.attempts.iter().any(|attempt| attempt.inputs == *inputs && attempt.outcome == Some(Outcome::Minted))
}

/// Were these inputs ever sent, as far as is remembered?
pub fn is_known(ledger: &ZohoMintLedgerSpec, inputs: &InputsDigest) -> bool {
    is_proven(ledger, inputs)
        || ledger.attempts.iter().any(|attempt| attempt.inputs == *inputs)
        || ledger.verdicts.iter().any(|verdict| verdict.inputs == *inputs)
}

/// Did any inputs?
pub fn is_anything_proven(ledger: &ZohoMintLedgerSpec) -> bool {
    !ledger.proven.is_empty() || ledger.attempts.iter().any(|attempt| attempt.outcome == Some(Outcome::Minted))
}

/// Does the account belong to others than this namespace, until when? Not where the inputs are known to be right.
pub fn is_others(ledger: &ZohoMintLedgerSpec, inputs: &InputsDigest, namespace: &str, now: Time) -> Option<Time> {
    let owners = || ledger.proven.iter().filter(|proven| proven.at + ACCOUNT_KEPT > now);
    let is_owner = owners().any(|proven| proven.inputs == *inputs || minted_for(proven, namespace));
    owners().map(|proven| proven.at + ACCOUNT_KEPT).max().filter(|_| !is_owner)
}

fn minted_for(proven: &Proven, namespace: &str) -> bool {
    proven.namespaces.iter().any(|of| of == namespace)
}

/// Whose an account is, seen from one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// It was never logged in to, as far as is remembered.
    Nobodys,
    /// It was logged in to from this namespace.
    Own,
    /// It is logged in to, and not from this namespace.
    Others,
}

/// Whose it is.
pub fn whose(ledger: &ZohoMintLedgerSpec, namespace: &str, now: Time) -> Account {
    if is_others(ledger, &InputsDigest::default(), namespace, now).is_some() {
        Account::Others
    } else if is_owner(ledger, namespace) {
        Account::Own
    } else {
        Account::Nobodys
    }
}

/// Did any inputs mint for this namespace, as far as is remembered? Then it may change them, whatever others try meanwhile.
pub fn is_owner(ledger: &ZohoMintLedgerSpec, namespace: &str) -> bool {
    ledger.proven.iter().any(|proven| minted_for(proven, namespace))
        || ledger
            .attempts
            .iter()
            .any(|attempt| attempt.namespace == namespace && attempt.outcome == Some(Outcome::Minted))
}

/// Does the record hold nothing that has to be remembered once no credential refers to it? What never minted goes soon: who
/// guesses refresh tokens leaves a ledger for each. What says that an account is somebody's, or was refused, stays.
pub fn is_forgettable(ledger: &ZohoMintLedgerSpec, now: Time) -> bool {
    let is_over = |attempt: &Attempt| {
        let minted_nothing = matches!(attempt.outcome, Some(Outcome::NotMinted | Outcome::NotSent));
        minted_nothing && !(attempt.login && attempt.outcome == Some(Outcome::NotMinted)) && attempt.at + WINDOW <= now
    };
    let is_old = |verdict: &Verdict| {
        let is_final = verdict.reason.parse().is_ok_and(Reason::is_final);
        verdict.at + if is_final { ACCOUNT_KEPT } else { PARKED } <= now
    };
    ledger.presumed_full_at.is_none()
        && ledger.throttled_until.is_none()
        && ledger.attempts.iter().all(is_over)
        && ledger.verdicts.iter().all(|verdict| !verdict.confirmed || is_old(verdict))
        && ledger.proven.iter().all(|proven| !proven.login || proven.at + ACCOUNT_KEPT <= now)
}

/// What holds a request back, and until when.
pub(super) fn held(ledger: &ZohoMintLedgerSpec, request: &Request<'_>, now: Time) -> Option<(Time, Hold)> {
    let others = request.login.then(|| is_others(ledger, request.inputs, request.namespace, now)).flatten();
    let failed = request.login.then(|| failed_logins_over_at(ledger)).flatten();
    let holds = [
        (others, Guard::OtherNamespace),
        (failed, Guard::FailedLogins),
        (refusals_over_at(ledger, request, now), Guard::Refusals),
    ];
    let pending = holds.into_iter().filter_map(|(until, why)| Some((until.filter(|until| *until > now)?, why)));
    pending.map(|(until, why)| (until, Hold::Guarded(why))).next()
}

/// When fewer logins than may fail did so in the day before.
fn failed_logins_over_at(ledger: &ZohoMintLedgerSpec) -> Option<Time> {
    let mut failed: Vec<Time> =
        ledger.attempts.iter().filter(|attempt| may_have_failed(ledger, attempt)).map(|attempt| attempt.at).collect();
    failed.sort_unstable();
    failed.len().checked_sub(MOST_FAILED_LOGINS).map(|oldest| failed[oldest] + DAY)
}

/// Was it, as far as is known, a failed login? One that a process died over may have been. One without a usable answer was
/// hardly refused where the password was right before; else it may have been. A server that asks for a one-time password has
/// taken the password.
fn may_have_failed(ledger: &ZohoMintLedgerSpec, attempt: &Attempt) -> bool {
    attempt.login
        && match attempt.outcome {
            None => true,
            Some(Outcome::NotMinted) => !asked_for_otp(ledger, attempt),
            Some(Outcome::Unknown) => !is_proven(ledger, &attempt.inputs),
            Some(Outcome::Minted | Outcome::NotSent) => false,
        }
}

/// Was that the answer to this attempt? The verdict on inputs is that of the last attempt with them.
fn asked_for_otp(ledger: &ZohoMintLedgerSpec, attempt: &Attempt) -> bool {
    let is_last = !ledger.attempts.iter().any(|other| other.inputs == attempt.inputs && other.at > attempt.at);
    let verdict = ledger.verdicts.iter().find(|verdict| verdict.inputs == attempt.inputs);
    is_last && verdict.is_some_and(|verdict| verdict.reason == Reason::OtpRequired.as_str())
}

/// When there is a place for one more verdict. Without one, inputs that were refused would be forgotten and sent again. Who has
/// minted before has the places beside: others' guesses must not keep the owner from changing his inputs.
fn refusals_over_at(ledger: &ZohoMintLedgerSpec, request: &Request<'_>, now: Time) -> Option<Time> {
    let Request { inputs, namespace, .. } = *request;
    let is_judged = || ledger.verdicts.iter().any(|verdict| verdict.inputs == *inputs);
    let has_place = is_proven(ledger, inputs) || is_owner(ledger, namespace) || is_judged();
    let mut standing: Vec<Time> = ledger
        .verdicts
        .iter()
        .filter(|verdict| !is_proven(ledger, &verdict.inputs) && stands(verdict, now))
        .map(|verdict| verdict.at + PARKED)
        .collect();
    standing.sort_unstable();
    standing.len().checked_sub(MOST_REFUSED).map(|oldest| standing[oldest]).filter(|_| !has_place)
}

/// Must it not be forgotten?
fn stands(verdict: &Verdict, now: Time) -> bool {
    verdict.at + PARKED > now
}

/// When a refused login is tried again by itself: only where the inputs worked before, which speaks for a server that
/// was wrong; after an hour, then once a day.
pub(super) fn repeated_at(ledger: &ZohoMintLedgerSpec, verdict: &Verdict) -> Option<Time> {
    let after = if verdict.repeats == 0 { FIRST_REPEAT } else { DAY };
    is_proven(ledger, &verdict.inputs).then(|| verdict.at + after)
}

/// Makes room for one more verdict on these inputs: the oldest goes, of those on inputs that never minted if there is one.
pub(super) fn make_room(ledger: &mut ZohoMintLedgerSpec) {
    while ledger.verdicts.len() >= MOST_REFUSED + MOST_PROVEN {
        let oldest = ledger
            .verdicts
            .iter()
            .enumerate()
            .min_by_key(|(_, verdict)| (is_proven(ledger, &verdict.inputs), verdict.at));
        let Some((oldest, _)) = oldest else { return };
        ledger.verdicts.remove(oldest);
    }
}

/// What an attempt that minted proves.
pub(super) fn proof(attempt: &Attempt) -> Proven {
    let Attempt { inputs, namespace, login, at, .. } = attempt.clone();
    let namespaces = if namespace.is_empty() { Vec::new() } else { vec![namespace] };
    Proven { inputs, namespaces, login, at }
}

/// Is it a login's, and news? Then it is written at once: until the next login there may be no other write.
pub(super) fn is_unwritten(stored: &ZohoMintLedgerSpec, proven: &Proven) -> bool {
    let is_it = |known: &&Proven| known.inputs == proven.inputs;
    let namespaces = |known: &Proven| proven.namespaces.iter().all(|namespace| known.namespaces.contains(namespace));
    proven.login && !stored.proven.iter().find(is_it).is_some_and(namespaces)
}

/// Remembers that these inputs minted.
pub(super) fn prove(ledger: &mut ZohoMintLedgerSpec, mut proven: Proven) {
    if let Some(known) = ledger.proven.iter().position(|known| known.inputs == proven.inputs) {
        let known = ledger.proven.remove(known);
        let new = proven.namespaces.into_iter().filter(|namespace| !known.namespaces.contains(namespace));
        proven.namespaces = known.namespaces.iter().cloned().chain(new).collect();
        proven.at = proven.at.max(known.at);
    }
    let too_many = proven.namespaces.len().saturating_sub(MOST_NAMESPACES);
    proven.namespaces.drain(..too_many);
    let place = ledger.proven.partition_point(|other| other.at <= proven.at);
    ledger.proven.insert(place, proven);
    let too_many = ledger.proven.len().saturating_sub(MOST_PROVEN);
    ledger.proven.drain(..too_many);
}

/// Without a future: what a clock that was ahead has written is from now at the latest.
pub(super) fn settle(proven: &mut [Proven], by_now: impl Fn(Time) -> Time) {
    for one in proven {
        one.at = by_now(one.at);
    }
}
