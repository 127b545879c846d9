//! The status: a pure function of what was observed, what was planned, and the status before.
//!
//! Two questions, two conditions. `Ready`: does a living token for this spec stand in the target now? `Renewable`: can
//! it be renewed, as far as is known; if not, why?

use std::time::Duration;

use crate::issuer::Failure;
use crate::message::{self, Names};
use crate::plan::backoff;
use crate::plan::budget::{self, Hold};
use crate::plan::renewal::Life;
use crate::plan::verify::Answer;
use crate::plan::{Observed, Plan, Source};
use zoho_api::{
    Condition, ConditionStatus, ConditionType, Observed as Versions, Outcome, Reason, Time, ZohoCredentialStatus,
};

/// `GitOps` tools apply in any order: for this long a missing part is work going on, not a person's turn.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 1024;

/// What a report is made from.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The status before.
    pub previous: &'a ZohoCredentialStatus,
    /// `metadata.generation` of the spec that was looked at.
    pub generation: i64,
    /// The facts.
    pub observed: &'a Observed,
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
    /// A renewal request that is done or refused by now.
    pub handled: Option<String>,
}

/// Something stands in the way.
#[derive(Clone, Debug)]
struct Cause {
    reason: Reason,
    message: String,
    next: Option<Time>,
    /// Nothing happens by itself: a person must act.
    person: bool,
}

/// The status to write. Equal to `previous` but for `observed` when there is nothing to say.
pub fn report(report: &Report<'_>, now: Time) -> ZohoCredentialStatus {
    let Report { previous, observed, plan, .. } = report;
    let life = observed.target.token().map(|token| token.life);
    let alive = life.is_some_and(|life| life.is_alive(now));
    let in_flight = matches!(plan, Plan::Mint { .. } | Plan::Store | Plan::Wait { why: Hold::InFlight, .. });
    let known =
        previous.observed_generation == Some(report.generation) && previous.condition(ConditionType::Ready).is_some();
    let cause = if in_flight { None } else { cause(report, alive) };

    let mut status = (*previous).clone();
    status.observed_generation = Some(report.generation);
    status.target = Some(report.names.target.name.to_string());
    if let Source::Usable { inputs, ledger } = &observed.source {
        status.ledger = Some(ledger.clone());
        if !in_flight {
            count_failures(&mut status, report, inputs);
        }
        status.throttled_until = observed.ledger.throttled_until;
    }
    status.expiration_time = life.filter(|_| report.names.expiry_is_named).map(|life| life.expires_at);
    status.last_mint_time = life.map(|life| life.issued_at).or(status.last_mint_time);
    status.renewal_time = life.map(|life| renewal_time(report, life));
    status.next_attempt_time = next_attempt(report, cause.as_ref(), life);
    status.live_tokens = report.live_tokens.and_then(|live| i32::try_from(live).ok()).or(status.live_tokens);
    status.last_handled_renew_request = report.handled.clone().or(status.last_handled_renew_request);
    status.observed = Some(report.versions.clone());
    // While a flight is under way the conditions of before stand, so that routine renewals and retries do not flap.
    let renewable_said_why = previous.condition(ConditionType::Renewable).map(|condition| condition.status);
    let quiet = in_flight && known && (alive || renewable_said_why == Some(ConditionStatus::False));
    if !quiet {
        let wanted = conditions(report, cause.as_ref(), life, alive, now);
        status.conditions = carry_over(&previous.conditions, wanted, report.generation, now);
    }
    status.conditions.retain(|condition| condition.type_ != ConditionType::Verified.as_str());
    let verified =
        carry_over(&previous.conditions, verified(report, alive).into_iter().collect(), report.generation, now);
    let after_renewable = status.conditions.len().min(2);
    status.conditions.splice(after_renewable..after_renewable, verified);
    status
}

/// Do two statuses say the same? The versions of Secrets are written only together with something else.
pub fn says_the_same(a: &ZohoCredentialStatus, b: &ZohoCredentialStatus) -> bool {
    let without = |status: &ZohoCredentialStatus| ZohoCredentialStatus { observed: None, ..status.clone() };
    without(a) == without(b) && a.observed.is_some() == b.observed.is_some()
}

/// When the report would say something else although nothing changed: the token dies, patience ends.
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
    let ledger = match &report.observed.source {
        Source::Usable { ledger, .. } => Some(ledger),
        Source::Unusable(_) => report.previous.ledger.as_ref(),
    };
    life.renewal_time(report.observed.renew_before, ledger.map_or("", String::as_str))
}

fn next_attempt(report: &Report<'_>, cause: Option<&Cause>, life: Option<Life>) -> Option<Time> {
    match report.plan {
        Plan::Mint { .. } | Plan::Store | Plan::Wait { why: Hold::InFlight, .. } => report.previous.next_attempt_time,
        Plan::Keep { .. } => life.map(|life| renewal_time(report, life)),
        Plan::Wait { .. } | Plan::Refuse(_) | Plan::Park { .. } | Plan::Suspend | Plan::Release => {
            cause.and_then(|cause| cause.next)
        }
    }
}

fn count_failures(status: &mut ZohoCredentialStatus, report: &Report<'_>, inputs: &str) {
    let attempts = &report.observed.ledger.attempts;
    let failures = backoff::consecutive_failures(attempts, inputs);
    status.consecutive_failures = i32::try_from(failures).ok();
    let failed = |attempt: &&zoho_api::Attempt| attempt.inputs == inputs && attempt.outcome != Some(Outcome::Minted);
    let last = attempts.iter().filter(failed).map(|attempt| attempt.at).max();
    status.last_failure_time = last.max(status.last_failure_time);
}

/// What stands in the way, in words for people.
fn cause(report: &Report<'_>, alive: bool) -> Option<Cause> {
    let defect = |defect: &crate::plan::Defect| Cause {
        reason: defect.reason,
        message: defect.message.clone(),
        next: defect.again_at,
        person: true,
    };
    match report.plan {
        Plan::Refuse(found) => Some(defect(found)),
        Plan::Park { verdict, until } => {
            let reason = verdict.reason.parse().unwrap_or(Reason::RequestRejected);
            let message = message::refusal(report.names, reason, verdict.code.as_deref(), true);
            Some(Cause {
                reason,
                message: message::with_next_try_or_change(&message, *until),
                next: *until,
                person: true,
            })
        }
        Plan::Suspend => Some(Cause {
            reason: Reason::Suspended,
            message: "spec.suspend is true: no token is minted. Set it to false to go on.".into(),
            next: None,
            person: false,
        }),
        Plan::Wait { until, why } => {
            let (reason, message) = held(report, why);
            // Zoho ends the access tokens together with their refresh token.
            let ended = matches!(why, Hold::Confirming(_)) && reason == Reason::RefreshTokenRejected;
            let goes_on = if alive && !ended { " The present token goes on working meanwhile." } else { "" };
            let message = format!("{message}{goes_on}");
            Some(Cause { reason, message: message::with_next_try(&message, *until), next: Some(*until), person: false })
        }
        Plan::Keep { .. } | Plan::Mint { .. } | Plan::Store | Plan::Release => None,
    }
}

/// Why a mint has to wait.
fn held(report: &Report<'_>, why: &Hold) -> (Reason, String) {
    let names = report.names;
    match why {
        Hold::InFlight => (Reason::Minting, "A token request is on its way.".into()),
        Hold::Throttled => {
            (Reason::Throttled, message::throttled(budget::attempts_before_last(&report.observed.ledger)))
        }
        Hold::Confirming(verdict) => {
            let reason = verdict.reason.parse().unwrap_or(Reason::RequestRejected);
            (
                reason,
                format!(
                    "{} It is asked once more to be sure.",
                    message::refusal(names, reason, verdict.code.as_deref(), false)
                ),
            )
        }
        Hold::WindowFull => (
            Reason::MintBudgetExhausted,
            "The requests that Zoho allows for one refresh token in ten minutes are used up.".into(),
        ),
        Hold::LiveFull => (
            Reason::MintBudgetExhausted,
            "So many tokens of this refresh token may be alive that one more could kill one in use.".into(),
        ),
        Hold::Spaced => (
            Reason::MintBudgetExhausted,
            "A one-time password can be used only once, so logins are two minutes apart.".into(),
        ),
        Hold::BackOff => match report.failure {
            Some(failure) => (failure.reason, message::upstream(names, failure)),
            // After a restart only the status knows what failed.
            None => match report.previous.condition(ConditionType::Renewable) {
                Some(before) if before.status == ConditionStatus::False => {
                    let reason = before.reason.parse().unwrap_or(Reason::UpstreamUnavailable);
                    let said = message::without_next_try(&before.message);
                    let said = said.strip_suffix(" The present token goes on working meanwhile.").unwrap_or(said);
                    (reason, said.to_owned())
                }
                _ => (
                    Reason::UpstreamUnavailable,
                    "An earlier token request was broken off before its answer was recorded.".into(),
                ),
            },
        },
    }
}

/// A condition before it has a transition time.
struct Wanted {
    type_: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: String,
}

/// The truth table.
fn conditions(report: &Report<'_>, cause: Option<&Cause>, life: Option<Life>, alive: bool, now: Time) -> Vec<Wanted> {
    use ConditionStatus::{False, True, Unknown};
    use ConditionType::{Ready, Reconciling, Renewable, Stalled};
    let row = |type_, status, reason, message: &str| Wanted { type_, status, reason, message: shortened(message) };
    let valid = life.map_or_else(String::new, |life| {
        let target = &report.names.target;
        if report.names.expiry_is_named {
            format!("Secret {target} holds a token that works until {}.", life.expires_at.clock())
        } else {
            format!("Secret {target} holds the token of a login at {}.", life.issued_at.clock())
        }
    });
    let Some(Cause { reason, message, person, .. }) = cause else {
        if alive {
            let renews = life.map_or_else(String::new, |life| {
                format!("The token is renewed at {}.", renewal_time(report, life).clock())
            });
            return vec![
                row(Ready, True, Reason::TokenValid, &valid),
                row(Renewable, True, Reason::TokenValid, &renews),
            ];
        }
        let message = "A token is being minted.";
        return vec![
            row(Ready, False, Reason::Minting, message),
            row(Renewable, Unknown, Reason::Minting, message),
            row(Reconciling, True, Reason::Minting, message),
        ];
    };
    // Zoho ends the access tokens together with their refresh token.
    let revoked = *reason == Reason::RefreshTokenRejected && matches!(report.plan, Plan::Park { .. });
    if alive && !revoked {
        return vec![row(Ready, True, Reason::TokenValid, &valid), row(Renewable, False, *reason, message)];
    }
    let expired = !person && *reason != Reason::Suspended && life.is_some_and(|life| now >= life.issued_at);
    let ready = if expired {
        row(
            Ready,
            False,
            Reason::TokenExpired,
            &format!("The token's life ran out while its renewal failed. {message}"),
        )
    } else {
        row(Ready, False, *reason, message)
    };
    let mut rows = vec![ready, row(Renewable, False, *reason, message)];
    if *reason == Reason::Suspended {
        return rows;
    }
    let work_goes_on = !person || (is_patient(*reason) && patience_lasts(report.previous, *reason, now));
    rows.push(row(if work_goes_on { Reconciling } else { Stalled }, True, *reason, message));
    rows
}

/// Does the product take the token? Only where it is asked.
fn verified(report: &Report<'_>, alive: bool) -> Option<Wanted> {
    let Report { previous, observed, names, .. } = report;
    let verification = observed.verification.as_ref()?;
    let row = |status, reason, message: &str| {
        Some(Wanted { type_: ConditionType::Verified, status, reason, message: shortened(message) })
    };
    if let Some(defect) = &verification.blocked {
        return row(ConditionStatus::Unknown, defect.reason, &defect.message);
    }
    let Some(token) = observed.target.token().filter(|_| alive) else {
        return row(ConditionStatus::Unknown, Reason::Minting, "There is no living token that could be shown.");
    };
    let (Some(answer), Some(question)) = (verification.answer_to(token), names.question.as_ref()) else {
        // What was said of the token before stands until the product has seen this one.
        let before = previous
            .condition(ConditionType::Verified)
            .and_then(|before| Some((before.status, before.reason.parse().ok()?, before.message.as_str())));
        let (status, reason, message) =
            before.unwrap_or((ConditionStatus::Unknown, Reason::Minting, "The product has not been asked yet."));
        return row(status, reason, message);
    };
    let message = message::verified(question, answer, verification.is_contradicted(token));
    match answer {
        Answer::Taken => row(ConditionStatus::True, Reason::TokenValid, &message),
        Answer::Refused => row(ConditionStatus::False, Reason::VerificationRejected, &message),
        Answer::Nothing(reason) => row(ConditionStatus::Unknown, reason, &message),
    }
}

fn is_patient(reason: Reason) -> bool {
    matches!(reason, Reason::SourceSecretNotFound | Reason::SourceSecretInvalid | Reason::WriteRefused)
}

fn patience_lasts(previous: &ZohoCredentialStatus, reason: Reason, now: Time) -> bool {
    let same = |type_| previous.condition(type_).filter(|condition| condition.reason == reason.as_str());
    if same(ConditionType::Stalled).is_some() {
        return false;
    }
    same(ConditionType::Reconciling).is_none_or(|condition| now < condition.last_transition_time + PATIENCE)
}

fn shortened(message: &str) -> String {
    message.chars().take(LONGEST_MESSAGE).collect()
}

/// Gives conditions their times: a transition is a change of status (for Reconciling also of reason, from which patience
/// counts), nothing else.
fn carry_over(before: &[Condition], wanted: Vec<Wanted>, generation: i64, now: Time) -> Vec<Condition> {
    let condition = |wanted: Wanted| {
        let same = |old: &&Condition| {
            old.type_ == wanted.type_.as_str()
                && old.status == wanted.status
                && (wanted.type_ != ConditionType::Reconciling || old.reason == wanted.reason.as_str())
        };
        Condition {
            last_transition_time: before.iter().find(same).map_or(now, |old| old.last_transition_time),
            type_: wanted.type_.to_string(),
            status: wanted.status,
            reason: wanted.reason.to_string(),
            message: wanted.message,
            observed_generation: generation,
        }
    };
    wanted.into_iter().map(condition).collect()
}

/// An Event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Something a person may have to do.
    pub warning: bool,
    /// The reason of the condition that changed.
    pub reason: String,
    /// Its message.
    pub note: String,
}

/// The Events of a change of status: one for each transition, none for a routine renewal.
pub fn announcements(before: &ZohoCredentialStatus, after: &ZohoCredentialStatus) -> Vec<Announcement> {
    let said = |status: &ZohoCredentialStatus, type_| {
        status.condition(type_).map(|condition| (condition.status, condition.reason.clone(), condition.message.clone()))
    };
    let mut events: Vec<Announcement> = Vec::new();
    for type_ in [ConditionType::Ready, ConditionType::Renewable, ConditionType::Verified] {
        let Some((status, reason, note)) = said(after, type_) else { continue };
        if type_ == ConditionType::Verified && status == ConditionStatus::Unknown {
            continue;
        }
        let changed = said(before, type_).is_none_or(|(was, why, _)| (was, &why) != (status, &reason));
        let told = events.iter().any(|event| event.reason == reason);
        if changed && !told && reason != Reason::Minting.as_str() {
            let warning = status == ConditionStatus::False && reason != Reason::Suspended.as_str();
            events.push(Announcement { warning, reason, note });
        }
    }
    events
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
