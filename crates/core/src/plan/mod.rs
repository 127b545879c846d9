//! What one pass should do: a total, pure function of the facts and the time.
//!
//! [`plan`] is an ordered list of checks, first match wins: who wants to know when a token is renewed reads it from top
//! to bottom. No async, no I/O, no clock, no randomness in this module.

pub mod backoff;
pub mod budget;
#[cfg(test)]
mod budget_tests;
pub mod guard;
#[cfg(test)]
mod guard_tests;
pub mod intake;
#[cfg(test)]
mod intake_tests;
pub mod mirror;
#[cfg(test)]
mod mirror_tests;
#[cfg(test)]
mod plan_tests;
pub mod record;
pub mod renewal;
pub mod requests;
pub mod verify;

use std::time::Duration;

use self::budget::{Hold, Limits, Need, Ruling};
use self::guard::Guard;
use self::renewal::{Life, Renewal};
use self::verify::Verification;
use zoho_api::names::{AttemptId, Holder, InputsDigest, LedgerName};
use zoho_api::{Reason, Time, Verdict, ZohoMintLedgerSpec};

/// Everything that one pass knows, read before anything is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read by one check")]
pub struct Facts {
    /// The object is being deleted.
    pub deleting: bool,
    /// A reason why the object cannot be served as it is written.
    pub defect: Option<Defect>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// When a token of this credential is due for renewal.
    pub renewal: Renewal,
    /// How far apart requests must be.
    pub spacing: Duration,
    /// A request is a login: too many failed ones lock the account.
    pub is_login: bool,
    /// Namespace of the credential.
    pub namespace: String,
    /// A renewal that a person asked for and that was not acted on yet.
    pub renew_requested: bool,
    /// What a token would be minted from.
    pub source: Source,
    /// What is where the token belongs.
    pub target: Target,
    /// The token in it is presented for another host than the spec's, or by another scheme.
    pub presented_otherwise: bool,
    /// Zoho has ended the token in it, together with the refresh token that it was minted from.
    pub token_ended: bool,
    /// Attempt of the token that this process last wrote there for the present spec.
    pub stored: Option<AttemptId>,
    /// Someone keeps changing the target, so it is not put back for now; a newer token is written all the same.
    pub conflict: Option<Defect>,
    /// The newest token in this process's memory that was minted from the same inputs as `source`.
    pub at_hand: Option<Token>,
    /// What the product says of the token, where `spec.verify` asks it.
    pub verification: Option<Verification>,
    /// The ledger of `source`, settled at the same instant as the plan is made.
    pub ledger: ZohoMintLedgerSpec,
    /// This process is minting from this ledger right now.
    pub minting: bool,
    /// The last flight failed for a reason that the ledger does not know (it could not be written).
    pub grounded_until: Option<Time>,
    /// What never minted and is held back, until when.
    pub guarded_until: Option<(Time, Guard)>,
}

/// Why an object cannot be served as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// The reason to report.
    pub reason: Reason,
    /// A sentence for a person.
    pub message: String,
    /// When to look again although nothing that is watched changed.
    pub again_at: Option<Time>,
}

impl Source {
    /// The inputs and their ledger, where they are usable.
    pub fn usable(&self) -> Option<(&InputsDigest, &LedgerName)> {
        match self {
            Self::Usable { inputs, ledger } => Some((inputs, ledger)),
            Self::Unusable(_) => None,
        }
    }
}

/// The source Secret, as far as this pass needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Usable inputs, known by their keyed hashes.
    Usable {
        /// Keyed hash of everything that would be sent.
        inputs: InputsDigest,
        /// Name of the ledger of these inputs.
        ledger: LedgerName,
    },
    /// Not usable, and why.
    Unusable(Defect),
}

/// What stands where the token belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// No such Secret.
    Absent,
    /// Ours.
    Ours {
        /// The token in it, when its record can be trusted.
        token: Option<Token>,
        /// Everything in it is as we would write it.
        intact: bool,
    },
    /// Cannot be written.
    Blocked {
        /// Why.
        defect: Defect,
        /// The token in it, where it is ours all the same.
        token: Option<Token>,
    },
}

/// The record of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// When it was asked for and when it expires.
    pub life: Life,
    /// Keyed hash of what it was minted from.
    pub inputs: InputsDigest,
    /// Id of the ledger entry it was minted under.
    pub attempt: AttemptId,
}

impl Token {
    /// Is this one newer than `other`? Tokens are ordered by issue, never by expiry: a new one may live shorter. Times
    /// have whole seconds, so of two of one second the one that was reserved later is newer. One that was issued in the
    /// future, by a clock that has been set back since, is older than all others.
    ///
    /// Never true both ways: two processes that each hold a token would overwrite each other's for ever.
    pub fn supersedes(&self, other: &Self, now: Time) -> bool {
        let order = |token: &Self| (!token.life.is_from_the_future(now), token.life.issued_at, token.attempt.clone());
        order(self) > order(other)
    }
}

impl Target {
    /// The token in the target, if its record can be trusted.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Ours { token, .. } | Self::Blocked { token, .. } => token.as_ref(),
            Self::Absent => None,
        }
    }
}

/// What one pass should do. Total: every [`Facts`] maps to exactly one plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Reserve, ask the token service, and come back when it has answered.
    Mint {
        /// Why.
        why: MintReason,
    },
    /// A token that is known already must be written to the target.
    Store,
    /// Nothing to do before `until`.
    Keep {
        /// When the token is due for renewal.
        until: Time,
    },
    /// A mint is due and must wait.
    Wait {
        /// The next instant at which that may change by itself.
        until: Time,
        /// What stands in the way.
        why: Hold,
    },
    /// Nothing can be done until something changes.
    Refuse(Defect),
    /// The server has refused these inputs for good.
    Park {
        /// What it said.
        verdict: Verdict,
        /// When it is asked once more by itself, if ever.
        until: Option<Time>,
    },
    /// `spec.suspend` is true.
    Suspend,
    /// The object is going away.
    Release,
}

/// Why a token is minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintReason {
    /// The target holds no token that could be trusted.
    Absent,
    /// The token was minted from other inputs than the source has now.
    InputsChanged,
    /// The token is due for renewal, or dead.
    Expiring,
    /// A person asked for it.
    Requested,
    /// The token is good, but the server refused its inputs when it was last asked: is that so?
    Refused,
    /// The product refuses a token that it took before.
    Contradicted,
}

impl MintReason {
    /// How much the token is missed.
    pub fn need(self) -> Need {
        match self {
            Self::Absent | Self::InputsChanged | Self::Expiring => Need::Needed,
            Self::Requested | Self::Refused | Self::Contradicted => Need::Wanted,
        }
    }
}

impl Plan {
    /// Is a token on its way, by this pass or by another process?
    pub fn is_in_flight(&self) -> bool {
        match self {
            Self::Mint { .. } | Self::Store | Self::Wait { why: Hold::InFlight, .. } => true,
            Self::Keep { .. }
            | Self::Wait { .. }
            | Self::Refuse(_)
            | Self::Park { .. }
            | Self::Suspend
            | Self::Release => false,
        }
    }
}

/// What to do now. The checks are in the order in which they win.
pub fn plan(facts: &Facts, holder: &Holder, limits: Limits, now: Time) -> Plan {
    if facts.deleting {
        return Plan::Release;
    }
    if let Some(defect) = &facts.defect {
        return Plan::Refuse(defect.clone());
    }
    if let Target::Blocked { defect, .. } = &facts.target {
        return Plan::Refuse(defect.clone());
    }
    let to_store = to_store(facts, now);
    match to_store {
        Some(Write::Newer) => return Plan::Store,
        Some(Write::Repair) if facts.conflict.is_none() => return Plan::Store,
        Some(Write::Repair) | None => {}
    }
    if facts.suspended {
        return Plan::Suspend;
    }
    let (inputs, ledger) = match &facts.source {
        Source::Usable { inputs, ledger } => (inputs, ledger),
        Source::Unusable(defect) => return Plan::Refuse(defect.clone()),
    };
    let token = best_token(facts, now);
    let wanted_at =
        match why_mint(facts, token, inputs, ledger, now).map(|why| mint(facts, why, inputs, holder, limits, now)) {
            Some(Ok(plan)) => return plan,
            Some(Err(until)) => Some(until),
            None => None,
        };
    let renewal = token.map(|token| token.life.renewal_time(facts.renewal, ledger));
    let until = [renewal, wanted_at].into_iter().flatten().min();
    match (&facts.conflict, to_store) {
        (Some(conflict), Some(Write::Repair)) => {
            let again_at = [conflict.again_at, until].into_iter().flatten().min();
            Plan::Refuse(Defect { again_at, ..conflict.clone() })
        }
        (Some(_) | None, _) => Plan::Keep { until: until.unwrap_or(now) },
    }
}

/// The token that counts: the one in the target, unless a newer one is known that someone keeps out of it.
fn best_token(facts: &Facts, now: Time) -> Option<&Token> {
    let held = facts.target.token();
    let at_hand = facts.at_hand.as_ref().filter(|at_hand| at_hand.life.is_alive(now));
    at_hand.filter(|at_hand| held.is_none_or(|held| is_newer(facts, at_hand, held, now))).or(held)
}

/// Why a token is to be minted, if one is.
fn why_mint(
    facts: &Facts,
    token: Option<&Token>,
    inputs: &InputsDigest,
    ledger: &LedgerName,
    now: Time,
) -> Option<MintReason> {
    match token {
        None => Some(MintReason::Absent),
        Some(token) if token.inputs != *inputs => Some(MintReason::InputsChanged),
        Some(token) if is_due(token.life, facts.renewal, ledger, now) => Some(MintReason::Expiring),
        Some(_) if facts.renew_requested => Some(MintReason::Requested),
        Some(_) if budget::is_refused(&facts.ledger, inputs) => Some(MintReason::Refused),
        Some(token) if is_contradicted(facts, token) => Some(MintReason::Contradicted),
        Some(_) => None,
    }
}

/// Mints, or says what that has to wait for.
///
/// # Errors
///
/// Until then there is no room for what is merely wanted, which does not stand in the way of a good token.
fn mint(
    facts: &Facts,
    why: MintReason,
    inputs: &InputsDigest,
    holder: &Holder,
    limits: Limits,
    now: Time,
) -> Result<Plan, Time> {
    let request = request(facts, why, inputs, holder);
    let held_here = held_here(facts, now).map(|(until, why)| Ruling::Wait { until, why });
    let is_merely_wanted = matches!(why, MintReason::Requested | MintReason::Contradicted) && held_here.is_none();
    let ruling = held_here.unwrap_or_else(|| budget::account(&facts.ledger, &request, limits, now));
    match (ruling, budget::ended(&facts.ledger, inputs)) {
        (Ruling::Go, _) => Ok(Plan::Mint { why }),
        (Ruling::Refuse { verdict, until }, _) => Ok(Plan::Park { verdict, until }),
        (Ruling::Wait { until, why: hold }, Some(verdict)) if hold != Hold::InFlight => {
            // Asked for once more, and not yet: until then the token is as dead as before.
            Ok(Plan::Park { verdict: verdict.clone(), until: Some(until) })
        }
        (Ruling::Wait { until, why: hold }, _) if is_merely_wanted && !matches!(hold, Hold::Confirming(_)) => {
            Err(until)
        }
        (Ruling::Wait { until, why }, _) => Ok(Plan::Wait { until, why }),
    }
}

/// What stands in the way of a mint in this process, whatever the ledger says.
fn held_here(facts: &Facts, now: Time) -> Option<(Time, Hold)> {
    if facts.minting {
        return Some((now + budget::IN_FLIGHT, Hold::InFlight));
    }
    let grounded = facts.grounded_until.map(|until| (until, Hold::BackOff));
    let guarded = facts.guarded_until.map(|(until, why)| (until, Hold::Guarded(why)));
    grounded.filter(|(until, _)| *until > now).or(guarded.filter(|(until, _)| *until > now))
}

fn request<'a>(facts: &'a Facts, why: MintReason, inputs: &'a InputsDigest, holder: &'a Holder) -> budget::Request<'a> {
    let Facts { renew_requested: asked, spacing, is_login: login, .. } = *facts;
    budget::Request { inputs, need: why.need(), asked, holder, spacing, login, namespace: &facts.namespace }
}

/// What a write of the target would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A token that the target does not hold.
    Newer,
    /// The token that it holds, put back to how we would write it.
    Repair,
}

/// Is a token known that the target should hold and does not?
///
/// Tokens in memory were minted from the present inputs; a token in the target is worth repairing as long as it lives.
/// Writing the very token that this process has written there before is a repair too: somebody has put an older copy back.
/// A suspended object gets nothing that it had not. And a token of other inputs is not presented for another host than before:
/// a workload would send it there.
pub fn to_store(facts: &Facts, now: Time) -> Option<Write> {
    if let Some(at_hand) = newer_at_hand(facts, now) {
        return Some(if was_stored(facts, at_hand) { Write::Repair } else { Write::Newer });
    }
    let held = facts.target.token().filter(|token| token.life.is_alive(now));
    let is_edited = matches!(facts.target, Target::Ours { intact: false, .. });
    let is_of_source = |token: &Token| facts.source.usable().is_some_and(|(inputs, _)| token.inputs == *inputs);
    let is_presentable = held.is_some_and(|held| !facts.presented_otherwise || is_of_source(held));
    (is_edited && is_presentable).then_some(Write::Repair)
}

/// The token at hand, where the target should hold it and does not.
pub(crate) fn newer_at_hand(facts: &Facts, now: Time) -> Option<&Token> {
    let alive = |token: &&Token| token.life.is_alive(now);
    let held = facts.target.token().filter(alive);
    let may_have = |token: &&Token| !facts.suspended || was_stored(facts, token);
    let at_hand = facts.at_hand.as_ref().filter(alive).filter(may_have);
    at_hand.filter(|at_hand| held.is_none_or(|held| is_newer(facts, at_hand, held, now)))
}

/// Has this process written that token to the target before?
fn was_stored(facts: &Facts, token: &Token) -> bool {
    facts.stored.as_ref() == Some(&token.attempt) && matches!(facts.target, Target::Ours { .. })
}

/// Is a token at hand to be preferred over the one in the target?
fn is_newer(facts: &Facts, at_hand: &Token, held: &Token, now: Time) -> bool {
    facts.source.usable().is_some_and(|(inputs, _)| held.inputs != *inputs) || at_hand.supersedes(held, now)
}

fn is_contradicted(facts: &Facts, token: &Token) -> bool {
    facts.verification.as_ref().is_some_and(|verification| verification.is_contradicted(token))
}

fn is_due(life: Life, rule: Renewal, ledger: &LedgerName, now: Time) -> bool {
    now >= life.renewal_time(rule, ledger) || life.is_from_the_future(now) || !life.is_alive(now)
}
