//! The truth table, row by row, and what holds for every report.

use super::*;
use crate::fixtures::{after, attempt, issued_ago, now, steady};
use crate::plan::guard::Guard;
use crate::plan::{Defect, MintReason, Token};
use zoho_api::ZohoMintLedgerSpec;
use zoho_api::names::ObjectName;
use zoho_api::{Attempt, Condition, DataCenter, Grant, Verdict};

fn token(seconds: u64) -> Token {
    issued_ago(seconds).of_attempt("a")
}

fn with(token: Option<Token>) -> Facts {
    steady().with_target(token)
}

fn refuse(reason: Reason) -> Plan {
    Plan::Refuse(Defect { reason, message: "why.".into(), again_at: None })
}

fn verdict(reason: Reason) -> Verdict {
    Verdict {
        inputs: "inputs".into(),
        reason: reason.as_str().into(),
        code: Some("invalid_code".into()),
        at: now(),
        confirmed: true,
        ..Verdict::default()
    }
}

fn park(reason: Reason) -> Plan {
    Plan::Park { verdict: verdict(reason), until: Some(after(6 * 3600)) }
}

fn back_off() -> Plan {
    Plan::Wait { until: after(60), why: Hold::BackOff }
}

fn keep() -> Plan {
    Plan::Keep { until: after(1740) }
}

pub(super) fn names() -> Names {
    Names {
        credential: "one".into(),
        source: ObjectName::new("ns", "source"),
        target: ObjectName::new("ns", "target"),
        source_manager: None,
        refresh_token_key: "refresh_token".into(),
        refresh_token_is_unmarked: false,
        scopes: Vec::new(),
        grant: Grant::RefreshToken,
        data_center: Some(DataCenter::EU),
        service: "The token service of data center EU".into(),
        console: "https://api-console.zoho.eu".into(),
        expiry_is_named: true,
        question: None,
    }
}

fn reported_at(previous: &ZohoCredentialStatus, facts: &Facts, plan: &Plan, at: Time) -> ZohoCredentialStatus {
    let failure = Failure { reason: Reason::UpstreamTimeout, code: None, at, again_at: None, cause: None };
    reported_after(Some(&failure), previous, facts, plan, at)
}

/// The same where this failed last, or nothing did.
fn reported_after(
    failure: Option<&Failure>,
    previous: &ZohoCredentialStatus,
    facts: &Facts,
    plan: &Plan,
    at: Time,
) -> ZohoCredentialStatus {
    let input = Report {
        previous,
        generation: 3,
        facts,
        plan,
        failure,
        names: &names(),
        versions: Versions::default(),
        live_tokens: None,
        granted_scopes: None,
        handled: None,
    };
    report(&input, at)
}

/// A report as one line: `Type=Status Reason` for each condition.
fn line(status: &ZohoCredentialStatus) -> String {
    let condition = |condition: &Condition| format!("{}={:?} {}", condition.type_, condition.status, condition.reason);
    status.conditions.iter().map(condition).collect::<Vec<_>>().join(", ")
}

/// What kstatus makes of it (cli-utils' rules for kinds it does not know).
fn kstatus(status: &ZohoCredentialStatus) -> &'static str {
    let is_true = |type_| status.condition(type_).is_some_and(|condition| condition.status == ConditionStatus::True);
    if status.observed_generation != Some(3) || is_true(ConditionType::Reconciling) {
        "InProgress"
    } else if is_true(ConditionType::Stalled) {
        "Failed"
    } else if status.condition(ConditionType::Ready).is_some_and(|ready| ready.status == ConditionStatus::False) {
        "InProgress"
    } else {
        "Current"
    }
}

#[test]
fn truth_table() {
    let nothing = ZohoCredentialStatus::default();
    let minting = Plan::Mint { why: MintReason::Absent };
    let (alive, dead, none) = (Some(token(60)), Some(token(4000)), None);
    let rows: Vec<(&str, Option<Token>, Plan, &str, &str)> = vec![
        (
            "first mint on its way",
            none.clone(),
            minting,
            "Ready=False Minting, Renewable=Unknown Minting, Reconciling=True Minting",
            "InProgress",
        ),
        ("living token", alive.clone(), keep(), "Ready=True TokenValid, Renewable=True TokenValid", "Current"),
        (
            "a retry is scheduled, token lives",
            alive.clone(),
            back_off(),
            "Ready=True TokenValid, Renewable=False UpstreamTimeout",
            "Current",
        ),
        (
            "a person must act, token lives",
            alive.clone(),
            refuse(Reason::SourceSecretNotFound),
            "Ready=True TokenValid, Renewable=False SourceSecretNotFound",
            "Current",
        ),
        (
            "a retry is scheduled, never a token",
            none.clone(),
            back_off(),
            "Ready=False UpstreamTimeout, Renewable=False UpstreamTimeout, Reconciling=True UpstreamTimeout",
            "InProgress",
        ),
        (
            "a retry is scheduled, token died",
            dead.clone(),
            back_off(),
            "Ready=False TokenExpired, Renewable=False UpstreamTimeout, Reconciling=True UpstreamTimeout",
            "InProgress",
        ),
        (
            "a person must act",
            none.clone(),
            refuse(Reason::TargetNotOwned),
            "Ready=False TargetNotOwned, Renewable=False TargetNotOwned, Stalled=True TargetNotOwned",
            "Failed",
        ),
        (
            "a person must act, GitOps may bring it",
            none.clone(),
            refuse(Reason::SourceSecretNotFound),
            "Ready=False SourceSecretNotFound, Renewable=False SourceSecretNotFound, Reconciling=True SourceSecretNotFound",
            "InProgress",
        ),
        (
            "refresh token revoked",
            alive.clone(),
            park(Reason::RefreshTokenRejected),
            "Ready=False RefreshTokenRejected, Renewable=False RefreshTokenRejected, Stalled=True RefreshTokenRejected",
            "Failed",
        ),
        (
            "client rejected, token lives",
            alive.clone(),
            park(Reason::ClientRejected),
            "Ready=True TokenValid, Renewable=False ClientRejected",
            "Current",
        ),
        (
            "client rejected",
            none.clone(),
            park(Reason::ClientRejected),
            "Ready=False ClientRejected, Renewable=False ClientRejected, Stalled=True ClientRejected",
            "Failed",
        ),
        ("suspended, token lives", alive, Plan::Suspend, "Ready=True TokenValid, Renewable=False Suspended", "Current"),
        ("suspended, dead", dead, Plan::Suspend, "Ready=False Suspended, Renewable=False Suspended", "InProgress"),
    ];
    for (name, token, plan, expected, kstatus_says) in rows {
        let status = reported_at(&nothing, &with(token), &plan, now());
        assert_eq!(line(&status), expected, "{name}");
        assert_eq!(kstatus(&status), kstatus_says, "{name}");
        for condition in &status.conditions {
            assert!(!condition.message.is_empty(), "{name}: {condition:?}");
            assert_eq!(condition.observed_generation, 3);
        }
    }
}

#[test]
fn revoked_token_is_not_called_valid_whatever_is_planned() {
    let facts = Facts { token_ended: true, ..with(Some(token(60))) };
    let throttled = Plan::Wait { until: after(600), why: Hold::Throttled };
    for plan in [keep(), back_off(), throttled, Plan::Suspend, refuse(Reason::WriteRefused)] {
        let status = reported_at(&ZohoCredentialStatus::default(), &facts, &plan, now());
        assert!(line(&status).starts_with("Ready=False"), "{plan:?}: {}", line(&status));
        let said: Vec<&str> = status.conditions.iter().map(|condition| condition.message.as_str()).collect();
        assert!(!said.concat().contains("keeps working"), "{said:?}");
    }
}

#[test]
fn who_may_be_guessing_does_not_learn_the_name_of_a_ledger() {
    let tried = Attempt { login: true, ..attempt(60, Some(Outcome::Minted)) };
    let ledger = ZohoMintLedgerSpec { attempts: vec![tried], ..Default::default() };
    let says = |guard: Option<Guard>| {
        let guarded_until = guard.map(|guard| (after(600), guard));
        let facts = Facts { guarded_until, ..with(None).with_ledger(ledger.clone()) };
        let plan = crate::plan::plan(&facts, &"me".into(), budget::Limits::default(), now());
        reported_at(&ZohoCredentialStatus::default(), &facts, &plan, now()).ledger
    };
    assert!(says(None).is_some() && says(Some(Guard::NewLedgers)).is_some());
    assert_eq!((says(Some(Guard::Passwords)), says(Some(Guard::OtherNamespace))), (None, None));
}

#[test]
fn missing_source_is_work_going_on_for_five_minutes_then_a_persons_turn() {
    let plan = refuse(Reason::SourceSecretNotFound);
    let first = reported_at(&ZohoCredentialStatus::default(), &with(None), &plan, now());
    assert_eq!(changes_at(&first, None, now()), Some(after(300)));
    let later = reported_at(&first, &with(None), &plan, after(299));
    assert_eq!(line(&later), line(&first));
    let stalled = reported_at(&later, &with(None), &plan, after(300));
    assert!(line(&stalled).ends_with("Stalled=True SourceSecretNotFound"), "{}", line(&stalled));
    let still = reported_at(&stalled, &with(None), &plan, after(900));
    assert_eq!(line(&still), line(&stalled));
}

#[test]
fn routine_renewal_flaps_no_condition_and_makes_no_event() {
    let valid = reported_at(&ZohoCredentialStatus::default(), &with(Some(token(1800))), &keep(), now());
    let minting = Plan::Mint { why: MintReason::Expiring };
    let during = reported_at(&valid, &with(Some(token(1800))), &minting, after(1));
    assert!(says_the_same(&during, &valid), "{during:?}");
    let renewed = reported_at(&during, &with(Some(token(0))), &keep(), after(2));
    assert!(!says_the_same(&renewed, &valid), "the times moved");
    assert_eq!(announcements(&valid, &renewed), []);
    let times = |status: &ZohoCredentialStatus| -> Vec<Time> {
        status.conditions.iter().map(|condition| condition.last_transition_time).collect()
    };
    assert_eq!(times(&renewed), times(&valid), "no status moved, so no transition time did");
}

#[test]
fn retry_in_flight_keeps_the_cause_of_the_failure_before() {
    let failed = reported_at(&ZohoCredentialStatus::default(), &with(None), &back_off(), now());
    let retry = reported_at(&failed, &with(None), &Plan::Mint { why: MintReason::Absent }, after(60));
    assert_eq!(line(&retry), line(&failed));
}

#[test]
fn token_that_expires_while_a_retry_is_in_flight_is_not_called_valid_any_more() {
    let valid = reported_at(&ZohoCredentialStatus::default(), &with(Some(token(60))), &keep(), now());
    let failing = reported_at(&valid, &with(Some(token(60))), &back_off(), after(1));
    let in_flight = Plan::Wait { until: after(7200), why: Hold::InFlight };
    let alive = reported_at(&failing, &with(Some(token(60))), &in_flight, after(61));
    assert_eq!(line(&alive), line(&failing));
    let expired = reported_at(&alive, &with(Some(token(4000))), &in_flight, after(3600));
    assert_eq!(line(&expired), line(&reported_at(&alive, &with(Some(token(4000))), &back_off(), after(3600))));
    let ready = expired.condition(ConditionType::Ready).unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::False, "TokenExpired"));
    assert!(!ready.message.contains("keeps working"), "{}", ready.message);
    let later = reported_at(&expired, &with(Some(token(4000))), &in_flight, after(3700));
    assert_eq!(line(&later), line(&expired), "and that is said once");
}

#[test]
fn token_that_expires_in_the_first_request_after_a_mended_source_is_not_blamed_on_zoho() {
    let missing = Defect { reason: Reason::SourceSecretNotFound, message: "gone".into(), again_at: None };
    let nothing = ZohoCredentialStatus::default();
    let refused = reported_after(None, &nothing, &with(Some(token(60))), &Plan::Refuse(missing), now());
    assert_eq!(line(&refused), "Ready=True TokenValid, Renewable=False SourceSecretNotFound");
    let in_flight = Plan::Wait { until: after(7200), why: Hold::InFlight };
    let expired = reported_after(None, &refused, &with(Some(token(4000))), &in_flight, after(3600));
    assert_eq!(line(&expired), "Ready=False Minting, Renewable=Unknown Minting, Reconciling=True Minting");
}

#[test]
fn every_transition_is_announced_once() {
    let nothing = ZohoCredentialStatus::default();
    let valid = reported_at(&nothing, &with(Some(token(60))), &keep(), now());
    let failing = reported_at(&valid, &with(Some(token(60))), &back_off(), after(1));
    let words = |events: Vec<Announcement>| -> Vec<String> {
        events
            .into_iter()
            .map(|event| format!("{} {}", if event.warning { "Warning" } else { "Normal" }, event.reason))
            .collect()
    };
    assert_eq!(words(announcements(&nothing, &valid)), ["Normal TokenValid"]);
    assert_eq!(words(announcements(&valid, &failing)), ["Warning UpstreamTimeout"]);
    let again = reported_at(&failing, &with(Some(token(60))), &back_off(), after(61));
    assert_eq!(words(announcements(&failing, &again)), Vec::<String>::new());
    let died = reported_at(&failing, &with(Some(token(4000))), &back_off(), after(3600));
    assert_eq!(words(announcements(&failing, &died)), ["Warning TokenExpired"]);
    assert_eq!(words(announcements(&died, &valid)), ["Normal TokenValid"]);
}

#[test]
fn living_tokens_are_as_counted_then_as_reported_then_as_the_ledger_tells() {
    let attempt = |id: &str, seconds: u64, outcome| Attempt {
        id: id.into(),
        at: issued_ago(seconds).life.issued_at,
        holder: "a".into(),
        inputs: "inputs".into(),
        life: Some(3600),
        outcome,
        ..Attempt::default()
    };
    let attempts = vec![
        attempt("dead", 5000, Some(Outcome::Minted)),
        attempt("lost", 700, Some(Outcome::Unknown)),
        attempt("refused", 600, Some(Outcome::NotMinted)),
        attempt("a", 60, Some(Outcome::Minted)),
    ];
    let ledger = ZohoMintLedgerSpec { attempts, ..Default::default() };
    let facts = Facts { ledger, ..with(Some(token(60))) };
    let live = |counted: Option<usize>, reported: Option<i32>| {
        let previous = ZohoCredentialStatus { live_tokens: reported, ..Default::default() };
        let (facts, plan, names) = (facts.clone(), keep(), names());
        let input = Report {
            previous: &previous,
            generation: 1,
            facts: &facts,
            plan: &plan,
            failure: None,
            names: &names,
            versions: Versions::default(),
            live_tokens: counted,
            granted_scopes: None,
            handled: None,
        };
        report(&input, now()).live_tokens
    };
    assert_eq!(live(Some(4), Some(3)), Some(4));
    assert_eq!(live(None, Some(3)), Some(3));
    assert_eq!(live(None, None), Some(2), "the lost one may live");
}

#[test]
fn granted_scopes_are_those_of_the_mint_and_else_as_they_were() {
    let previous = ZohoCredentialStatus { granted_scopes: vec!["A.old.READ".into()], ..Default::default() };
    let facts = with(Some(token(60)));
    let (plan, names) = (keep(), names());
    let granted = |granted_scopes: Option<Vec<String>>| {
        let input = Report {
            previous: &previous,
            generation: 1,
            facts: &facts,
            plan: &plan,
            failure: None,
            names: &names,
            versions: Versions::default(),
            live_tokens: None,
            granted_scopes,
            handled: None,
        };
        report(&input, now()).granted_scopes
    };
    assert_eq!(granted(Some(vec!["A.new.READ".into()])), ["A.new.READ"]);
    assert_eq!(granted(Some(Vec::new())), Vec::<String>::new(), "the reply named none");
    assert_eq!(granted(None), ["A.old.READ"], "minted by another process");
}

#[test]
fn message_survives_a_restart_and_tells_the_next_try() {
    let failed = reported_at(&ZohoCredentialStatus::default(), &with(Some(token(60))), &back_off(), now());
    let said = &failed.condition(ConditionType::Renewable).unwrap().message;
    assert!(said.contains("did not answer in time") && said.ends_with("Next try 13:47Z."), "{said}");
    let restarted = Report {
        previous: &failed,
        generation: 3,
        facts: &with(Some(token(60))),
        plan: &back_off(),
        failure: None,
        names: &names(),
        versions: Versions::default(),
        live_tokens: None,
        granted_scopes: None,
        handled: None,
    };
    assert_eq!(line(&report(&restarted, after(5))), line(&failed));
    assert_eq!(report(&restarted, after(5)).conditions, failed.conditions);
}

#[test]
fn wrong_data_center_is_suspected_by_name() {
    let status = reported_at(&ZohoCredentialStatus::default(), &with(None), &park(Reason::ClientRejected), now());
    let said = &status.condition(ConditionType::Renewable).unwrap().message;
    for part in [
        "data center other than EU (accounts.zoho.eu)",
        "https://api-console.zoho.eu",
        "spec.dataCenter",
        "Secret ns/source",
        "Next try",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn source_that_somebody_else_makes_is_changed_where_he_takes_it_from() {
    let names = Names { source_manager: Some("ExternalSecret zoho-oauth".into()), ..names() };
    let said = message::refusal(&names, Reason::RefreshTokenRejected, Some("invalid_code"), true);
    let expected = "Zoho refused the refresh token (invalid_code): it was revoked, or belongs to another client; tokens made from it no longer work. Make a new one at https://api-console.zoho.eu and put it into key refresh_token of Secret ns/source (managed by ExternalSecret zoho-oauth: change it there); kubectl zoho login one --data-center EU --print-secret=json prints one. The code that the console shows is not a refresh token: it must first be exchanged for one.";
    assert_eq!(said, expected);
}

#[test]
fn throttle_with_few_requests_of_our_own_is_somebody_elses() {
    let attempt = |seconds: u64| Attempt {
        id: seconds.to_string().into(),
        at: now() - Duration::from_secs(seconds),
        holder: "h".into(),
        inputs: "inputs".into(),
        life: None,
        outcome: Some(Outcome::NotMinted),
        ..Attempt::default()
    };
    let throttled = |attempts: Vec<u64>| {
        let ledger = ZohoMintLedgerSpec {
            attempts: attempts.into_iter().map(attempt).collect(),
            ..ZohoMintLedgerSpec::default()
        };
        let facts = with(None).with_ledger(ledger);
        let plan = Plan::Wait { until: after(600), why: Hold::Throttled };
        let status = reported_at(&ZohoCredentialStatus::default(), &facts, &plan, now());
        status.condition(ConditionType::Renewable).unwrap().message.clone()
    };
    assert!(throttled(vec![5000, 60, 0]).contains("This operator made only 2 of them in ten minutes"));
    assert!(!throttled(vec![500, 400, 300, 200, 100, 0]).contains("something else"));
}

#[test]
fn ready_is_reported_until_shortly_before_the_token_dies() {
    let valid = reported_at(&ZohoCredentialStatus::default(), &with(Some(token(60))), &keep(), now());
    assert_eq!(changes_at(&valid, Some(token(60).life), now()), Some(after(3480)));
}

#[test]
fn verified_says_what_the_product_said_and_keeps_it_until_the_next_answer() {
    const QUESTION: &str = "GET https://patch.manageengine.eu/api/1.4/patch/summary";
    use crate::plan::verify::{Probe, Shown, Verification};
    let shown = |attempt: &str| Shown { attempt: attempt.into(), question: QUESTION.into() };
    let known = |answer: Option<Answer>, attempt: &str, taken: Option<&str>| {
        let mut facts = with(Some(token(60)));
        facts.verification = Some(Verification {
            blocked: None,
            question: QUESTION.into(),
            interval: Duration::from_secs(300),
            last: answer.map(|answer| Probe { at: now(), shown: shown(attempt), answer }),
            taken: taken.map(shown),
            first_at: now(),
        });
        facts
    };
    let verified = |status: &ZohoCredentialStatus| {
        let condition = status.condition(ConditionType::Verified).expect("a condition");
        format!("{:?} {}", condition.status, condition.reason)
    };
    let nothing = ZohoCredentialStatus::default();
    let table = [
        ("not asked", known(None, "", None), "Unknown Minting"),
        ("taken", known(Some(Answer::Taken), "a", Some("a")), "True TokenValid"),
        ("its owner may not", known(Some(Answer::MayNot), "a", Some("a")), "True TokenValid"),
        ("refused", known(Some(Answer::Refused), "a", None), "False VerificationRejected"),
        ("scope missing", known(Some(Answer::ScopeMissing), "a", Some("a")), "False VerificationRejected"),
        ("lost on its way", known(Some(Answer::NoToken), "a", Some("a")), "Unknown UpstreamError"),
        ("nothing", known(Some(Answer::Nothing(Reason::UpstreamTimeout)), "a", None), "Unknown UpstreamTimeout"),
    ];
    for (name, facts, expected) in table {
        assert_eq!(verified(&asked(&nothing, &facts)), expected, "{name}");
    }
    let taken = asked(&nothing, &known(Some(Answer::Taken), "a", Some("a")));
    let renewed = known(Some(Answer::Taken), "the one before", Some("the one before"));
    assert_eq!(verified(&asked(&taken, &renewed)), "True TokenValid", "what was said stands until the next answer");
    let types: Vec<&str> = taken.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["Ready", "Renewable", "Verified"]);
    assert_eq!(asked(&taken, &with(Some(token(60)))).condition(ConditionType::Verified), None, "spec.verify went");
}

fn asked(previous: &ZohoCredentialStatus, facts: &Facts) -> ZohoCredentialStatus {
    let spec = serde_json::from_value(serde_json::json!({
        "dataCenter": "EU", "product": "PatchManagerPlus", "secretRef": { "name": "s" }, "verify": { "interval": "5m" },
    }));
    let credential = zoho_api::ZohoCredential::new("c", spec.unwrap());
    let served = crate::spec::check(&credential, &crate::policy::Policy::default()).unwrap();
    let question = served.verify.unwrap().1.ok();
    let names = Names { question, ..names() };
    let input = Report {
        previous,
        generation: 3,
        facts,
        plan: &keep(),
        failure: None,
        names: &names,
        versions: Versions::default(),
        live_tokens: None,
        granted_scopes: None,
        handled: None,
    };
    report(&input, now())
}

#[test]
fn name_of_another_installation_is_shown_as_text_of_bounded_length() {
    let hostile = format!("a/\u{1b}[2J\u{202e}{}", "x".repeat(5000));
    let event = served_elsewhere(&ObjectName::new("ns", "one"), &hostile, "ours/one");
    assert!(event.note.chars().all(crate::text::is_plain), "{}", event.note);
    assert!(event.note.len() <= 1024 && !event.warning);
}
