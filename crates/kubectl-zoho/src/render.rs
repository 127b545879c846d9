//! What people read of credentials, as text. Pure: facts and the time in, lines out.

use zoho_api::{Condition, ConditionStatus, ConditionType, Time, ZohoCredential, ZohoMintLedgerSpec};
use zoho_core::message;
use zoho_core::plan::budget::{self, Found, Hold, Limits};
use zoho_core::plan::{MintReason, Plan};
use zoho_core::text::{printable, printable_lines};

use super::table::{relative, when};

/// One row of `get`: namespace, name, ready, renewable, expires, renews, live tokens, secret.
pub(crate) fn row(credential: &ZohoCredential, now: Time) -> Vec<String> {
    let status = credential.status.as_ref();
    let condition = |type_| status.and_then(|status| status.condition(type_));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let at = |time: Option<Time>| time.map_or_else(|| "-".into(), |at| relative(at, now));
    let unseen = || "Unknown".to_owned();
    vec![
        text(&credential.metadata.namespace),
        text(&credential.metadata.name),
        condition(ConditionType::Ready).map_or_else(unseen, |ready| format!("{:?}", ready.status)),
        condition(ConditionType::Renewable).map_or_else(unseen, |renewable| renewable.reason.clone()),
        at(status.and_then(|status| status.expiration_time)),
        at(status.and_then(|status| status.renewal_time)),
        status.and_then(|status| status.live_tokens).map_or_else(|| "-".into(), |live| live.to_string()),
        credential.target_name(),
    ]
}

/// What a plan means for a person: what happens next, and when.
pub(crate) fn next(plan: &Plan, now: Time) -> String {
    match plan {
        Plan::Mint { why } => format!("A token is minted now: {}.", reason(*why)),
        Plan::Store => "The current token is written into the target now.".into(),
        Plan::Keep { until } => format!("The token is valid. It is renewed at {}.", when(*until, now)),
        Plan::Wait { until, why } => format!("{} Next try at {}.", hold(why), when(*until, now)),
        Plan::Refuse(defect) => match defect.again_at {
            Some(at) => format!("Nothing until this is fixed; the operator checks again at {}.", when(at, now)),
            None => "Nothing until this is fixed. The operator notices a change at once.".into(),
        },
        Plan::Park { until: Some(until), .. } => format!(
            "Nothing until the source Secret changes. The operator tries once more at {}, or at once after kubectl zoho renew.",
            when(*until, now)
        ),
        Plan::Park { until: None, .. } => {
            "Nothing until the source Secret changes: another try with the same values could lock the account.".into()
        }
        Plan::Suspend => "Nothing while spec.suspend is true.".into(),
        Plan::Release => "The object is being deleted, and its target Secret with it.".into(),
    }
}

fn reason(why: MintReason) -> &'static str {
    match why {
        MintReason::Absent => "there is none",
        MintReason::InputsChanged => "the values of the source have changed since the token was minted",
        MintReason::Expiring => "the current one is due for renewal",
        MintReason::Requested => "it was requested",
        MintReason::Contradicted => "the product refuses the current one, which it accepted before",
        MintReason::Refused => "Zoho refused the values of the source at the last request, and the operator asks again",
    }
}

fn hold(why: &Hold) -> &'static str {
    match why {
        Hold::Guarded(guard) => message::guarded(*guard),
        Hold::InFlight => "A token request is in flight.",
        Hold::Throttled => "Zoho reported too many requests, so the operator waits.",
        Hold::Confirming(_) => "Zoho refused, and the operator asks once more to confirm this.",
        Hold::BackOff => "The last try failed.",
        Hold::Spaced => "Requests to this server are spaced out, so that no one-time password is used twice.",
        Hold::WindowFull => "The requests of ten minutes are used up.",
        Hold::LiveFull => "The maximum number of tokens may be valid.",
    }
}

/// What a ledger has used of its limits.
pub(crate) fn budget(ledger: &ZohoMintLedgerSpec, limits: Limits, now: Time) -> String {
    let ledger = budget::settle(Found::Present(ledger.clone()), now);
    format!(
        "{} of {} requests in ten minutes, {} of {} tokens may be valid",
        budget::attempts_in_window(&ledger, limits, now),
        limits.attempts,
        budget::live(&ledger, limits, now),
        limits.live,
    )
}

/// A condition in one line, with how long it has been so.
pub(crate) fn condition(condition: &Condition, now: Time) -> String {
    let status = match condition.status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    };
    let since = now.since(condition.last_transition_time).as_secs();
    let (reason, message) = (printable(&condition.reason, 64), printable(&condition.message, 2048));
    format!("{status}, {reason} for {}. {message}", super::table::span(since))
}

/// Labelled lines; a text that does not fit goes on under itself.
pub(crate) fn fields(fields: &[(&str, String)], width: usize) -> String {
    const INDENT: usize = 12;
    let lines = fields.iter().flat_map(|(label, text)| {
        let wrapped = wrap(text, width.saturating_sub(INDENT).max(40));
        wrapped.into_iter().enumerate().map(move |(number, line)| {
            let label = if number == 0 { format!("{label}:") } else { String::new() };
            format!("{label:INDENT$}{}", printable_lines(&line)).trim_end().to_owned()
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Breaks text between words where a line is too long; keeps its own line breaks and the space before a line.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    text.split('\n')
        .flat_map(|line| if line.chars().count() <= width { vec![line.to_owned()] } else { broken(line, width) })
        .collect()
}

fn broken(line: &str, width: usize) -> Vec<String> {
    let words = line.trim_start();
    let indent = " ".repeat(line.len() - words.len());
    let mut lines = Vec::new();
    let mut current = indent.clone();
    for word in words.split(' ') {
        let is_begun = current.len() > indent.len();
        if is_begun && current.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut current, indent.clone() + word));
            continue;
        }
        if is_begun {
            current.push(' ');
        }
        current.push_str(word);
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use zoho_api::{Reason, Verdict};
    use zoho_core::plan::Defect;

    const NOW: Time = Time::UNIX_EPOCH;

    fn after(seconds: u64) -> Time {
        NOW + Duration::from_secs(seconds)
    }

    #[test]
    fn every_plan_says_what_comes_and_when() {
        let verdict = Verdict {
            inputs: zoho_api::names::InputsDigest::default(),
            reason: "ClientRejected".into(),
            code: None,
            at: NOW,
            confirmed: true,
            ..Verdict::default()
        };
        let defect = |again_at| Defect { reason: Reason::TargetConflict, message: "m".into(), again_at };
        let table = [
            (Plan::Mint { why: MintReason::Absent }, "A token is minted now: there is none."),
            (Plan::Keep { until: after(1500) }, "The token is valid. It is renewed at 00:25Z (in 25m)."),
            (Plan::Wait { until: after(60), why: Hold::BackOff }, "The last try failed. Next try at 00:01Z (in 60s)."),
            (Plan::Refuse(defect(None)), "Nothing until this is fixed. The operator notices a change at once."),
            (
                Plan::Refuse(defect(Some(after(600)))),
                "Nothing until this is fixed; the operator checks again at 00:10Z (in 10m).",
            ),
            (
                Plan::Park { verdict, until: Some(after(7200)) },
                "Nothing until the source Secret changes. The operator tries once more at 02:00Z (in 2h), or at once after kubectl zoho renew.",
            ),
            (Plan::Suspend, "Nothing while spec.suspend is true."),
        ];
        for (plan, expected) in table {
            assert_eq!(next(&plan, NOW), expected);
        }
    }

    #[test]
    fn row_of_an_unseen_credential_has_no_holes() {
        let credential: ZohoCredential = serde_json::from_value(json!({
            "metadata": { "name": "c", "namespace": "ns" },
            "spec": { "dataCenter": "EU", "secretRef": { "name": "s" } },
        }))
        .unwrap();
        assert_eq!(row(&credential, NOW), ["ns", "c", "Unknown", "Unknown", "-", "-", "-", "c-token"]);
    }

    #[test]
    fn only_lines_that_are_too_long_are_broken() {
        let text = "a  b\n  Scope:     X\n  one two three\nhttps://a-very-long-address/without-a-space";
        let expected =
            ["a  b", "  Scope:     X", "  one two", "  three", "https://a-very-long-address/without-a-space"];
        assert_eq!(wrap(text, 14), expected);
        assert_eq!(wrap("a b", usize::MAX), ["a b"]);
    }

    #[test]
    fn long_texts_go_on_under_themselves() {
        let text = fields(
            &[("Next", "aaaa bbbb cccc dddd eeee ffff gggg hhhh iiii jjjj kkkk".into()), ("End", "x".into())],
            52,
        );
        let expected = "Next:       aaaa bbbb cccc dddd eeee ffff gggg hhhh\n            iiii jjjj kkkk\nEnd:        x";
        assert_eq!(text, expected);
    }
}
