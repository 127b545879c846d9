//! What stands in the way of a token, in words for people.

use super::Report;
use crate::message;
use crate::plan::budget::{self, Hold};
use crate::plan::{Defect, Plan};
use zoho_api::{Reason, Time, Verdict, ZohoCredentialStatus};

/// Something stands in the way.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub reason: Reason,
    pub message: String,
    pub next: Option<Time>,
    /// Nothing happens by itself: a person must act.
    pub person: bool,
}

/// What stands in the way, in words for people.
pub(super) fn cause(report: &Report<'_>, alive: bool) -> Option<Cause> {
    let defect = |defect: &Defect| Cause {
        reason: defect.reason,
        message: defect.message.clone(),
        next: defect.again_at,
        person: true,
    };
    match report.plan {
        Plan::Refuse(found) => Some(defect(found)),
        Plan::Park { verdict, until } => {
            let reason = verdict.reason.parse().unwrap_or(Reason::RequestRejected);
            let message = message::refusal(report.names, reason, verdict.code.as_deref(), ends_token(report, verdict));
            Some(Cause {
                reason,
                message: message::with_next_try_or_change(&message, report.names, *until),
                next: *until,
                person: true,
            })
        }
        Plan::Suspend => Some(Cause {
            reason: Reason::Suspended,
            message: format!(
                "spec.suspend is true: no token is minted. Set it to false to continue.{}",
                if report.facts.token_ended {
                    " The token in the target was revoked with its refresh token."
                } else {
                    ""
                }
            ),
            next: None,
            person: false,
        }),
        Plan::Wait { until, why } => {
            let (reason, message) = held(report, why);
            // Zoho ends the access tokens together with their refresh token.
            let ended =
                report.facts.token_ended || matches!(why, Hold::Confirming(verdict) if ends_token(report, verdict));
            let goes_on = if alive && !ended { " The current token keeps working in the meantime." } else { "" };
            let message = format!("{message}{goes_on}");
            Some(Cause { reason, message: message::with_next_try(&message, *until), next: Some(*until), person: false })
        }
        Plan::Keep { .. } | Plan::Mint { .. } | Plan::Store | Plan::Release => None,
    }
}

/// Why there is no newer token, while it is asked for once more; `None` where nothing is known to have failed.
pub(super) fn last_failure(report: &Report<'_>) -> Option<Cause> {
    if report.failure.is_none() && known_failure(report.previous).is_none() {
        return None;
    }
    let (reason, message) = held(report, &Hold::BackOff);
    Some(Cause { reason, message, next: None, person: false })
}

/// What failed last, as a process before this one reported it.
fn known_failure(previous: &ZohoCredentialStatus) -> Option<(Reason, String)> {
    let known = previous.last_failure.as_ref()?;
    Some((known.reason.parse().ok()?, known.message.clone()?))
}

/// Does this verdict mean that the token in the target is ended? Zoho ends the access tokens together with their refresh
/// token; a token of a former source has nothing to do with it.
pub(super) fn ends_token(report: &Report<'_>, verdict: &Verdict) -> bool {
    verdict.reason == Reason::RefreshTokenRejected.as_str()
        && report.facts.target.token().is_none_or(|token| token.inputs == verdict.inputs)
}

/// Why a mint has to wait.
pub(super) fn held(report: &Report<'_>, why: &Hold) -> (Reason, String) {
    let names = report.names;
    match why {
        Hold::InFlight => (Reason::Minting, "A token request is in flight.".into()),
        Hold::Throttled => {
            (Reason::Throttled, message::throttled(names, budget::attempts_before_last(&report.facts.ledger)))
        }
        Hold::Confirming(verdict) => {
            let reason = verdict.reason.parse().unwrap_or(Reason::RequestRejected);
            (
                reason,
                format!(
                    "{} The operator asks once more to confirm this.",
                    message::refusal(names, reason, verdict.code.as_deref(), false)
                ),
            )
        }
        Hold::WindowFull => (
            Reason::MintBudgetExhausted,
            format!(
                "The operator's limit of requests for one {} in ten minutes is reached; kubectl get zledger -A shows them.",
                message::counted_by(names)
            ),
        ),
        Hold::LiveFull => (
            Reason::MintBudgetExhausted,
            format!(
                "So many tokens of this {} may be valid that another one could invalidate one in use.",
                message::counted_by(names)
            ),
        ),
        Hold::Guarded(guard) => (Reason::MintBudgetExhausted, message::guarded(*guard).into()),
        Hold::Spaced => (
            Reason::MintBudgetExhausted,
            "A one-time password can be used only once, so logins are two minutes apart.".into(),
        ),
        Hold::BackOff => {
            // After a restart only the status knows what failed.
            let known = report.failure.map(|failure| (failure.reason, message::upstream(names, failure)));
            match known.or_else(|| known_failure(report.previous)) {
                Some(failure) => failure,
                None => (
                    Reason::UpstreamUnavailable,
                    "An earlier token request ended before its answer was recorded.".into(),
                ),
            }
        }
    }
}
