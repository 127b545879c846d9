//! What is said of a renewal that a person asked for. Pure.

use super::cause::{Cause, cause, held};
use super::{Announcement, Report, renewal_time};
use crate::message;
use crate::plan::Plan;
use crate::plan::budget::Hold;
use zoho_api::{Reason, Time};

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// There is a new token in the target.
    Renewed,
    /// There is none; and until when what stands in the way of one more.
    Refused(Option<(Time, Hold)>),
}

/// The Event that answers the request which the report calls handled.
pub fn answer(report: &Report<'_>, asked: Asked, now: Time) -> Option<Announcement> {
    report.handled.as_ref()?;
    let (warning, reason, note) = match asked {
        Asked::Renewed => (false, "Renewed", renewed(report)),
        Asked::Refused(held_back) => (true, "RenewalRefused", refused(report, held_back, now)),
    };
    Some(Announcement { is_answer: true, ..Announcement::new(warning, reason, &note) })
}

fn renewed(report: &Report<'_>) -> String {
    let target = &report.names.target;
    let life = report.facts.target.token().map(|token| token.life).filter(|_| report.names.expiry_is_named);
    let until = life.map(|life| format!(" that works until {}", life.expires_at.clock())).unwrap_or_default();
    format!("As requested, Secret {target} holds a new token{until}.")
}

fn refused(report: &Report<'_>, held_back: Option<(Time, Hold)>, now: Time) -> String {
    let life = report.facts.target.token().map(|token| token.life);
    let alive = life.is_some_and(|life| life.is_alive(now));
    // Who changes the target keeps no token from being minted.
    let is_conflict = matches!(report.plan, Plan::Refuse(defect) if defect.reason == Reason::TargetConflict);
    let stands_in_the_way = cause(report, alive).filter(|_| !is_conflict || held_back.is_none());
    let why = match (stands_in_the_way, held_back) {
        (Some(Cause { reason, message, next, .. }), _) => {
            // What waits, and what is parked, says so itself.
            let says_when = matches!(report.plan, Plan::Wait { .. } | Plan::Park { .. });
            let next = next.filter(|_| !says_when).map(|at| format!(" The operator checks again at {}.", at.clock()));
            format!("{reason}: {message}{}", next.unwrap_or_default())
        }
        (None, Some((until, hold))) => {
            let (reason, message) = held(report, &hold);
            format!("{reason}: {message} It is possible from {} on: request it again then.", until.clock())
        }
        (None, None) => {
            let failed = report.failure.map(|failure| {
                format!("{}: {} Request it again.", failure.reason, message::upstream(report.names, failure))
            });
            failed.unwrap_or_else(|| "Request it again.".into())
        }
    };
    let meanwhile = life.filter(|_| alive && matches!(report.plan, Plan::Keep { .. }));
    let meanwhile = meanwhile.map(|life| {
        format!(
            " The current token stays valid, and is renewed automatically at {}.",
            renewal_time(report, life).clock()
        )
    });
    format!("The requested renewal was not done. {why}{}", meanwhile.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;
    use crate::fixtures::{after, defect, now, steady};
    use crate::issuer::Failure;
    use zoho_api::{Observed, Verdict, ZohoCredentialStatus};

    fn told(plan: &Plan, asked: Asked, handled: Option<&str>, failure: Option<&Failure>) -> Option<Announcement> {
        let report = Report {
            previous: &ZohoCredentialStatus::default(),
            generation: 1,
            facts: &steady(),
            plan,
            failure,
            names: &names(),
            versions: Observed::default(),
            live_tokens: None,
            granted_scopes: None,
            handled: handled.map(str::to_owned),
        };
        answer(&report, asked, now())
    }

    fn note(plan: &Plan, asked: Asked) -> String {
        let Announcement { warning, reason, note, is_answer } = told(plan, asked, Some("now"), None).expect("an Event");
        assert!(is_answer);
        assert_eq!(warning, reason == "RenewalRefused");
        format!("{reason} {note}")
    }

    #[test]
    fn request_is_answered_with_what_came_of_it_and_when_it_would_go() {
        let keep = Plan::Keep { until: after(60) };
        assert_eq!(
            note(&keep, Asked::Renewed),
            "Renewed As requested, Secret ns/target holds a new token that works until 14:45Z."
        );
        assert_eq!(
            note(&keep, Asked::Refused(Some((after(600), Hold::LiveFull)))),
            "RenewalRefused The requested renewal was not done. MintBudgetExhausted: So many tokens of this refresh token may be valid that another one could invalidate one in use. It is possible from 13:56Z on: request it again then. The current token stays valid, and is renewed automatically at 14:15Z."
        );
        let refused = || Asked::Refused(None);
        let waits = Plan::Wait { until: after(600), why: Hold::Throttled };
        let said = note(&waits, refused());
        assert!(said.contains("Throttled: Zoho reports") && said.ends_with("Next try 13:56Z."), "{said}");
        let verdict = Verdict { reason: "RefreshTokenRejected".into(), inputs: "inputs".into(), ..Verdict::default() };
        let said = note(&Plan::Park { verdict, until: Some(after(21_600)) }, refused());
        assert!(said.ends_with("Next try 19:46Z, or at once when that Secret changes."), "{said}");
        assert_eq!(
            note(&Plan::Suspend, refused()),
            "RenewalRefused The requested renewal was not done. Suspended: spec.suspend is true: no token is minted. Set it to false to continue."
        );
        let conflict =
            Plan::Refuse(crate::plan::Defect { again_at: Some(after(600)), ..defect(Reason::TargetConflict) });
        let said = note(&conflict, refused());
        assert!(said.ends_with("TargetConflict: why. The operator checks again at 13:56Z."), "{said}");
        let said = note(&conflict, Asked::Refused(Some((after(900), Hold::Throttled))));
        assert!(said.contains("Throttled: Zoho reports") && said.contains("It is possible from 14:01Z on"), "{said}");
    }

    #[test]
    fn flight_that_failed_for_it_is_told() {
        let failure = Failure { reason: Reason::UpstreamTimeout, code: None, at: now(), again_at: None, cause: None };
        let keep = Plan::Keep { until: after(60) };
        let event = told(&keep, Asked::Refused(Some((after(10), Hold::BackOff))), Some("now"), Some(&failure));
        let note = event.expect("an Event").note;
        assert!(note.contains("UpstreamTimeout: ") && note.contains("It is possible from 13:46Z on"), "{note}");
    }

    #[test]
    fn nobody_asked_nobody_is_told() {
        assert_eq!(told(&Plan::Keep { until: after(60) }, Asked::Renewed, None, None), None);
    }
}
