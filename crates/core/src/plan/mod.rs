//! What one pass should do: a total, pure function of what was observed and the time.
//!
//! [`plan`] is an ordered list of checks, first match wins: who wants to know when a token is renewed reads it from top
//! to bottom. No async, no I/O, no clock, no randomness in this module.

pub mod backoff;
pub mod budget;
#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod plan_tests;
pub mod record;
pub mod renewal;
pub mod verify;

use std::time::Duration;

use self::budget::{Answer, Hold, Limits, Need};
use self::renewal::Life;
use self::verify::Verification;
use zoho_api::{Reason, Time, Verdict, ZohoMintLedgerSpec};

/// Everything that one pass knows, read before anything is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read by one check")]
pub struct Observed {
    /// The object is being deleted.
    pub deleting: bool,
    /// A reason why the object cannot be served as it is written.
    pub defect: Option<Defect>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.renewBefore`, with its default.
    pub renew_before: Duration,
    /// How far apart requests must be.
    pub spacing: Duration,
    /// A renewal that a person asked for and that was not acted on yet.
    pub renew_requested: bool,
    /// What a token would be minted from.
    pub source: Source,
    /// What stands where the token belongs.
    pub target: Target,
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

/// The source Secret, as far as this pass needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Usable inputs, known by their keyed hashes.
    Usable {
        /// Keyed hash of everything that would be sent.
        inputs: String,
        /// Name of the ledger of these inputs.
        ledger: String,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// When it was asked for and when it dies.
    pub life: Life,
    /// Keyed hash of what it was minted from.
    pub inputs: String,
    /// Id of the ledger entry it was minted under.
    pub attempt: String,
}

impl Token {
    /// Is this one to be preferred over `other`? Times have whole seconds, so two tokens may die at the same one; then
    /// the one that was reserved later wins.
    ///
    /// Never true both ways: two processes that each hold a token would overwrite each other's for ever.
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.life.expires_at, &self.attempt) > (other.life.expires_at, &other.attempt)
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

/// What one pass should do. Total: every [`Observed`] maps to exactly one plan.
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

/// What to do now. The checks stand in the order in which they win.
pub fn plan(observed: &Observed, holder: &str, limits: Limits, now: Time) -> Plan {
    let Observed { target, source, .. } = observed;
    if observed.deleting {
        return Plan::Release;
    }
    if let Some(defect) = &observed.defect {
        return Plan::Refuse(defect.clone());
    }
    if let Target::Blocked { defect, .. } = target {
        return Plan::Refuse(defect.clone());
    }
    if must_store(observed, now) {
        return Plan::Store;
    }
    if observed.suspended {
        return Plan::Suspend;
    }
    let (inputs, ledger) = match source {
        Source::Usable { inputs, ledger } => (inputs, ledger),
        Source::Unusable(defect) => return Plan::Refuse(defect.clone()),
    };
    let token = target.token();
    let why = match token {
        None => MintReason::Absent,
        Some(token) if token.inputs != *inputs => MintReason::InputsChanged,
        Some(token) if renewal_is_due(token.life, observed.renew_before, ledger, now) => MintReason::Expiring,
        Some(_) if observed.renew_requested => MintReason::Requested,
        Some(_) if budget::is_refused(&observed.ledger, inputs) => MintReason::Refused,
        Some(token) if is_contradicted(observed, token) => MintReason::Contradicted,
        Some(token) => return Plan::Keep { until: token.life.renewal_time(observed.renew_before, ledger) },
    };
    if observed.minting {
        return Plan::Wait { until: now + budget::IN_FLIGHT, why: Hold::InFlight };
    }
    if let Some(until) = observed.grounded_until.filter(|until| *until > now) {
        return Plan::Wait { until, why: Hold::BackOff };
    }
    let Observed { renew_requested: asked, spacing, .. } = *observed;
    let request = budget::Request { inputs, need: why.need(), asked, holder, spacing };
    match (budget::account(&observed.ledger, &request, limits, now), token) {
        (Answer::Go, _) => Plan::Mint { why },
        // That there is no room for what is merely wanted does not stand in the way of a good token.
        (
            Answer::Wait {
                until,
                why: Hold::InFlight | Hold::Throttled | Hold::BackOff | Hold::WindowFull | Hold::LiveFull | Hold::Spaced,
            },
            Some(token),
        ) if matches!(why, MintReason::Requested | MintReason::Contradicted) => {
            Plan::Keep { until: token.life.renewal_time(observed.renew_before, ledger).min(until) }
        }
        (Answer::Wait { until, why }, _) => Plan::Wait { until, why },
        (Answer::Refuse { verdict, until }, _) => Plan::Park { verdict, until },
    }
}

/// Is a token known that the target should hold and does not?
///
/// Tokens in memory were minted from the present inputs; a token in the target is worth repairing as long as it lives.
fn must_store(observed: &Observed, now: Time) -> bool {
    let alive = |token: &&Token| token.life.is_alive(now);
    let held = observed.target.token().filter(alive);
    let inputs = match &observed.source {
        Source::Usable { inputs, .. } => Some(inputs),
        Source::Unusable(_) => None,
    };
    let is_better = |at_hand: &Token| {
        held.is_none_or(|held| inputs.is_some_and(|inputs| held.inputs != *inputs) || at_hand.supersedes(held))
    };
    observed.at_hand.as_ref().filter(alive).is_some_and(is_better)
        || (held.is_some() && matches!(observed.target, Target::Ours { intact: false, .. }))
}

fn is_contradicted(observed: &Observed, token: &Token) -> bool {
    observed.verification.as_ref().is_some_and(|verification| verification.is_contradicted(token))
}

fn renewal_is_due(life: Life, renew_before: Duration, ledger: &str, now: Time) -> bool {
    now >= life.renewal_time(renew_before, ledger) || life.is_from_the_future(now)
}
