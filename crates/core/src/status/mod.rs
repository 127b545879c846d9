//! The status: a pure function of what was observed, what was planned, and the status before.
//!
//! Two questions, two conditions. `Ready`: does a living token for this spec stand in the target now? `Renewable`: can
//! it be renewed, as far as is known; if not, why?

mod announcement;
mod cause;
mod conditions;
mod requests;
mod scopes;

use std::time::Duration;

pub use self::announcement::{Announcement, adopted, announcements, served_elsewhere, warning};
use self::cause::{Cause, cause, ends_token, last_failure};
use self::conditions::{Conditions, Wanted, shortened, wanted};
pub use self::requests::{Asked, answer};
pub use self::scopes::missing_scopes;
use crate::issuer::Failure;
use crate::message::{self, Names};
use crate::plan::backoff;
use crate::plan::budget::{self, Hold};
use crate::plan::record;
use crate::plan::renewal::Life;
use crate::plan::verify::Answer;
use crate::plan::{Facts, Plan};
use zoho_api::names::{InputsDigest, LedgerName};
use zoho_api::{
    ConditionStatus, ConditionType, LastFailure, Observed as Versions, Outcome, Reason, Time, ZohoCredentialStatus,
};

/// `GitOps` tools apply in any order: for this long a missing part is work going on, not a person's turn.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a report is made from.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The status before.
    pub previous: &'a ZohoCredentialStatus,
    /// `metadata.generation` of the spec that was looked at.
    pub generation: i64,
    /// The facts.
    pub facts: &'a Facts,
    /// What follows from them.
    pub plan: &'a Plan,
    /// How the last flight with the present inputs failed.
    pub failure: Option<&'a Failure>,
    /// Names for messages.
    pub names: &'a Names,
    /// Versions of the Secrets that were looked at.
    pub versions: Versions,
    /// Tokens that may have been alive right after the last mint.
    pub live_tokens: Option<usize>,
    /// The scopes that came with the token in the target, where that is known: where the process minted it.
    pub granted_scopes: Option<Vec<String>>,
    /// A renewal request that is done or refused by now.
    pub handled: Option<String>,
}

/// The status to write. Equal to `previous` but for `observed` when there is nothing to say.
pub fn report(report: &Report<'_>, now: Time) -> ZohoCredentialStatus {
    let Report { previous, facts, plan, .. } = report;
    let life = facts.target.token().map(|token| token.life);
    let alive = life.is_some_and(|life| life.is_alive(now));
    let in_flight = plan.is_in_flight();
    let known =
        previous.observed_generation == Some(report.generation) && previous.condition(ConditionType::Ready).is_some();
    let said = |type_| previous.condition(type_).map(|condition| condition.status);
    let was_failing = known && said(ConditionType::Renewable) == Some(ConditionStatus::False);
    // While a flight is under way the conditions of before hold, so that routine renewals and retries do not flap. But a
    // token that expires meanwhile is not called valid any more.
    let expires_in_flight =
        in_flight && was_failing && !alive && said(ConditionType::Ready) == Some(ConditionStatus::True);
    let quiet = in_flight && known && (alive || was_failing) && !expires_in_flight;
    let cause = match in_flight {
        true if expires_in_flight => last_failure(report),
        true => None,
        false => cause(report, alive),
    };

    let mut status = (*previous).clone();
    status.observed_generation = Some(report.generation);
    status.target = Some(report.names.target.name.to_string());
    if let Some((inputs, ledger)) = facts.source.usable() {
        // Who may only guess inputs must not learn from a name that they are known.
        let is_known = life.is_some_and(|_| facts.target.token().is_some_and(|token| token.inputs == *inputs));
        let was_tried = facts.ledger.attempts.iter().any(|attempt| attempt.inputs == *inputs);
        let is_kept_secret = facts.guarded_until.is_some_and(|(_, guard)| guard.keeps_secret());
        status.ledger = ((is_known || was_tried) && !is_kept_secret).then(|| ledger.clone());
        if !in_flight {
            count_failures(&mut status, report, inputs);
        }
        status.throttled_until = facts.ledger.throttled_until.filter(|_| status.ledger.is_some());
    }
    status.last_failure = status.last_failure.as_ref().map(printable_failure);
    status.expiration_time = life.filter(|_| report.names.expiry_is_named).map(|life| life.expires_at);
    status.last_mint_time = life.map(|life| life.issued_at).or(status.last_mint_time);
    status.renewal_time = life.map(|life| renewal_time(report, life));
    status.next_attempt_time = next_attempt(report, cause.as_ref(), life);
    status.live_tokens = live_tokens(report, life);
    status.granted_scopes = report.granted_scopes.clone().unwrap_or(status.granted_scopes);
    status.last_handled_renew_request = report.handled.clone().or(status.last_handled_renew_request);
    status.observed = Some(report.versions.clone());
    let mut conditions = Conditions::of(&previous.conditions);
    if !quiet {
        conditions = truth_table(report, cause.as_ref(), life, alive, now);
    }
    conditions.verified = verified(report, alive);
    status.conditions = conditions.since(&previous.conditions, report.generation, now);
    status
}

/// Do two statuses say the same? The versions of Secrets are written only together with something else.
pub fn says_the_same(a: &ZohoCredentialStatus, b: &ZohoCredentialStatus) -> bool {
    let without = |status: &ZohoCredentialStatus| ZohoCredentialStatus { observed: None, ..status.clone() };
    without(a) == without(b) && a.observed.is_some() == b.observed.is_some()
}

/// When the report would say something else although nothing changed: the token expires, patience ends.
pub fn changes_at(status: &ZohoCredentialStatus, life: Option<Life>, now: Time) -> Option<Time> {
    let dies = life
        .filter(|life| life.is_alive(now))
        .map(|life| life.expires_at - Duration::from_secs(60).min(life.expires_at.since(life.issued_at) / 6));
    let patience = status
        .condition(ConditionType::Reconciling)
        .filter(|condition| condition.reason.parse().is_ok_and(is_patient))
        .map(|condition| condition.last_transition_time + PATIENCE);
    [dies, patience].into_iter().flatten().filter(|at| *at > now).min()
}

fn renewal_time(report: &Report<'_>, life: Life) -> Time {
    let ledger = report.facts.source.usable().map(|(_, ledger)| ledger).or(report.previous.ledger.as_ref());
    life.renewal_time(report.facts.renewal, ledger.unwrap_or(&LedgerName::default()))
}

/// As this process has counted when it minted; as the status says; or, where the process that minted ended before it could
/// say so, as the ledger tells.
fn live_tokens(report: &Report<'_>, life: Option<Life>) -> Option<i32> {
    let counted = report.live_tokens.and_then(|count| i32::try_from(count).ok());
    let told = || {
        let ledger = &report.facts.ledger;
        let limits = record::limits(ledger).unwrap_or_default();
        let count = life.map(|life| budget::live(ledger, limits, life.issued_at))?;
        i32::try_from(count).ok().filter(|count| *count > 0)
    };
    counted.or(report.previous.live_tokens).or_else(told)
}

fn next_attempt(report: &Report<'_>, cause: Option<&Cause>, life: Option<Life>) -> Option<Time> {
    match report.plan {
        _ if report.plan.is_in_flight() => report.previous.next_attempt_time,
        Plan::Mint { .. } | Plan::Store => report.previous.next_attempt_time,
        Plan::Keep { .. } => life.map(|life| renewal_time(report, life)),
        Plan::Wait { .. } | Plan::Refuse(_) | Plan::Park { .. } | Plan::Suspend | Plan::Release => {
            cause.and_then(|cause| cause.next)
        }
    }
}

fn count_failures(status: &mut ZohoCredentialStatus, report: &Report<'_>, inputs: &InputsDigest) {
    // The one that the token in the target came from did not fail, whether or not its outcome is written down.
    let in_target = report.facts.target.token().map(|token| &token.attempt);
    let since = report.facts.ledger.attempts.iter().rposition(|attempt| Some(&attempt.id) == in_target);
    let attempts = &report.facts.ledger.attempts[since.map_or(0, |at| at + 1)..];
    let failures = backoff::consecutive_failures(attempts, inputs);
    status.consecutive_failures = i32::try_from(failures).ok();
    let failed = |attempt: &&zoho_api::Attempt| attempt.inputs == *inputs && attempt.outcome != Some(Outcome::Minted);
    let last = attempts.iter().filter(failed).map(|attempt| attempt.at).max();
    status.last_failure_time = last.max(status.last_failure_time);
    let failure = report.failure.map(|failure| LastFailure {
        reason: failure.reason.as_str().into(),
        code: failure.code.clone(),
        message: Some(message::upstream(report.names, failure)),
    });
    let goes_on = failures > 0 || matches!(report.plan, Plan::Wait { why: Hold::BackOff, .. });
    status.last_failure = failure.or(report.previous.last_failure.clone()).filter(|_| goes_on);
}

/// That of the status before may be anybody's.
fn printable_failure(failure: &LastFailure) -> LastFailure {
    LastFailure {
        reason: shortened(&failure.reason),
        code: failure.code.as_deref().map(shortened),
        message: failure.message.as_deref().map(shortened),
    }
}

/// The truth table.
fn truth_table(report: &Report<'_>, cause: Option<&Cause>, life: Option<Life>, alive: bool, now: Time) -> Conditions {
    use ConditionStatus::{False, True, Unknown};
    let valid = life.map_or_else(String::new, |life| {
        let target = &report.names.target;
        if report.names.expiry_is_named {
            format!("Secret {target} holds a token that works until {}.", life.expires_at.clock())
        } else {
            format!("Secret {target} holds the token of a login at {}.", life.issued_at.clock())
        }
    });
    let Some(Cause { reason, message, person, .. }) = cause else {
        if alive && !is_revoked(report) {
            let renews = life.map_or_else(String::new, |life| {
                format!("The token is renewed at {}.", renewal_time(report, life).clock())
            });
            return Conditions {
                ready: Some(wanted(True, Reason::TokenValid, &valid)),
                renewable: Some(wanted(True, Reason::TokenValid, &renews)),
                ..Conditions::default()
            };
        }
        let message = "A token is being minted.";
        return Conditions {
            ready: Some(wanted(False, Reason::Minting, message)),
            renewable: Some(wanted(Unknown, Reason::Minting, message)),
            reconciling: Some(wanted(True, Reason::Minting, message)),
            ..Conditions::default()
        };
    };
    let renewable = Some(wanted(False, *reason, message));
    if alive && !is_revoked(report) {
        return Conditions {
            ready: Some(wanted(True, Reason::TokenValid, &valid)),
            renewable,
            ..Conditions::default()
        };
    }
    let expired = !person && *reason != Reason::Suspended && life.is_some_and(|life| now >= life.issued_at);
    let ready = if expired {
        Some(wanted(False, Reason::TokenExpired, &format!("The token expired because its renewal failed. {message}")))
    } else {
        Some(wanted(False, *reason, message))
    };
    let goes_on = !person || (is_patient(*reason) && patience_lasts(report.previous, *reason, now));
    let kstatus = Some(wanted(True, *reason, message)).filter(|_| *reason != Reason::Suspended);
    let (reconciling, stalled) = if goes_on { (kstatus, None) } else { (None, kstatus) };
    Conditions { ready, renewable, reconciling, stalled, verified: None }
}

/// Was the token in the target ended together with its refresh token, whatever is done about it?
fn is_revoked(report: &Report<'_>) -> bool {
    matches!(report.plan, Plan::Park { verdict, .. } if ends_token(report, verdict)) || report.facts.token_ended
}

/// Does the product take the token? Only where it is asked.
fn verified(report: &Report<'_>, alive: bool) -> Option<Wanted> {
    let Report { previous, facts, names, .. } = report;
    let verification = facts.verification.as_ref()?;
    if let Some(defect) = &verification.blocked {
        return Some(wanted(ConditionStatus::Unknown, defect.reason, &defect.message));
    }
    let Some(token) = facts.target.token().filter(|_| alive) else {
        return Some(wanted(
            ConditionStatus::Unknown,
            Reason::Minting,
            "There is no valid token that the product could be asked about.",
        ));
    };
    let (Some(answer), Some(question)) = (verification.answer_to(token), names.question.as_ref()) else {
        // What was said of the token before holds until the product has seen this one; what it answered to another
        // question does not.
        let before = Conditions::of(&previous.conditions).verified;
        let is_same_spec = previous.observed_generation == Some(report.generation);
        let before = before.filter(|_| is_same_spec && !verification.is_about_another_question());
        return before.or_else(|| {
            Some(wanted(ConditionStatus::Unknown, Reason::Minting, "The product has not been asked yet."))
        });
    };
    let message = message::verified(question, answer, verification.is_contradicted(token));
    match answer {
        Answer::Taken | Answer::MayNot => Some(wanted(ConditionStatus::True, Reason::TokenValid, &message)),
        Answer::Refused | Answer::ScopeMissing => {
            Some(wanted(ConditionStatus::False, Reason::VerificationRejected, &message))
        }
        Answer::NoToken => Some(wanted(ConditionStatus::Unknown, Reason::UpstreamError, &message)),
        Answer::Nothing(reason) => Some(wanted(ConditionStatus::Unknown, reason, &message)),
    }
}

fn is_patient(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SourceSecretNotFound | Reason::SourceSecretInvalid | Reason::WriteRefused | Reason::ReadRefused
    )
}

fn patience_lasts(previous: &ZohoCredentialStatus, reason: Reason, now: Time) -> bool {
    let same = |type_| previous.condition(type_).filter(|condition| condition.reason == reason.as_str());
    if same(ConditionType::Stalled).is_some() {
        return false;
    }
    same(ConditionType::Reconciling).is_none_or(|condition| now < condition.last_transition_time + PATIENCE)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;

#[cfg(test)]
mod foreign_tests;
