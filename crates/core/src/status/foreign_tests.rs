//! Whatever others wrote into what a report is made from, what is reported of it is text and nothing else.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::fixtures::{after, issued_ago, now, steady};
use crate::plan::{Defect, MintReason};
use crate::text::is_plain;
use zoho_api::names::ObjectName;
use zoho_api::{Condition, DataCenter, Grant, Verdict};

fn hostile() -> impl Strategy<Value = String> {
    let bad = "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2066}-\u{2069}\u{feff}a-c]{0,40}";
    prop_oneof![bad, ".*", Just("x".repeat(5000)), Just("\u{1b}".repeat(300))]
}

fn names(manager: String, host: String) -> Names {
    Names {
        credential: "one".into(),
        source: ObjectName::new("ns", "source"),
        target: ObjectName::new("ns", "target"),
        source_manager: Some(manager),
        refresh_token_key: "refresh_token".into(),
        refresh_token_is_unmarked: false,
        scopes: Vec::new(),
        grant: Grant::RefreshToken,
        data_center: Some(DataCenter::EU),
        service: host.clone(),
        console: host,
        expiry_is_named: true,
        question: None,
    }
}

fn plan(number: u8, words: &str) -> Plan {
    let verdict = Verdict {
        inputs: "inputs".into(),
        reason: if number == 2 { words.into() } else { Reason::RefreshTokenRejected.as_str().into() },
        code: Some(words.into()),
        at: now(),
        confirmed: true,
        ..Verdict::default()
    };
    match number {
        0 => Plan::Refuse(Defect { reason: Reason::TargetNotOwned, message: words.into(), again_at: None }),
        1 | 2 => Plan::Park { verdict, until: Some(after(3600)) },
        3 => Plan::Wait { until: after(60), why: Hold::BackOff },
        4 => Plan::Wait { until: after(60), why: Hold::Confirming(verdict) },
        5 => Plan::Keep { until: after(1740) },
        _ => Plan::Mint { why: MintReason::Expiring },
    }
}

/// A status that somebody planted.
fn planted(words: &str) -> ZohoCredentialStatus {
    let condition = |type_: ConditionType| Condition {
        type_: type_.to_string(),
        status: ConditionStatus::False,
        reason: words.into(),
        message: words.into(),
        observed_generation: 3,
        last_transition_time: now(),
    };
    let failure = LastFailure { reason: "UpstreamError".into(), code: Some(words.into()), message: Some(words.into()) };
    ZohoCredentialStatus {
        observed_generation: Some(3),
        conditions: ConditionType::ALL.iter().map(|type_| condition(*type_)).collect(),
        last_failure: Some(failure),
        ..ZohoCredentialStatus::default()
    }
}

fn texts<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

proptest! {
    #[test]
    fn nothing_hostile_gets_into_a_status_or_an_event(
        (words, manager, host, before) in (hostile(), hostile(), hostile(), hostile()),
        (number, alive, failed) in (0_u8..7, any::<bool>(), any::<bool>()),
    ) {
        let facts = steady().with_target(alive.then(|| issued_ago(60).of_attempt("a")));
        let plan = plan(number, &words);
        let failure = Failure {
            reason: Reason::UpstreamError, code: Some(words.clone()), at: now(), again_at: None, cause: None,
        };
        let previous = planted(&before);
        let status = report(&Report {
            previous: &previous,
            generation: 3,
            facts: &facts,
            plan: &plan,
            failure: failed.then_some(&failure),
            names: &names(manager, host),
            versions: Versions::default(),
            live_tokens: None,
            granted_scopes: None,
            handled: None,
        }, now());
        let value = serde_json::to_value(&status).expect("plain data");
        let mut found = Vec::new();
        texts(&value, &mut found);
        for text in found {
            prop_assert!(text.chars().all(is_plain), "{text:?}");
            prop_assert!(text.chars().count() <= 1024);
        }
        let defect = Defect { reason: Reason::TargetNotOwned, message: words, again_at: None };
        let events = announcements(&ZohoCredentialStatus::default(), &previous);
        for event in events.into_iter().chain(announcements(&previous, &status)).chain([warning(&defect)]) {
            prop_assert!(event.note.chars().chain(event.reason.chars()).all(is_plain), "{event:?}");
            prop_assert!(event.note.len() <= 1024, "the API server takes no longer note");
        }
    }
}
