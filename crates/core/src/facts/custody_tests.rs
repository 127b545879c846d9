//! Whose an object is, by every word of the other installation.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const US: &str = "ours/zoho-operator";
const OTHER: &str = "theirs/zoho-operator";

fn at(seconds: i64) -> Time {
    Time::from_unix(1_000_000 + seconds)
}

fn credential(status: &Value) -> ZohoCredential {
    serde_json::from_value(json!({
        "metadata": { "name": "one", "namespace": "ns", "generation": 2 },
        "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
        "status": status,
    }))
    .unwrap()
}

fn renewable(status: &str) -> Value {
    json!([{ "type": "Renewable", "status": status, "reason": "Some", "message": "", "observedGeneration": 2,
        "lastTransitionTime": "2026-01-01T00:00:00Z" }])
}

fn others(edit: &Value) -> ZohoCredential {
    let mut status = json!({ "servedBy": OTHER, "observedGeneration": 2, "conditions": renewable("True") });
    for (field, value) in edit.as_object().unwrap() {
        status[field] = value.clone();
    }
    credential(&status)
}

const NOTHING: Around<'static> = Around { source: None, target: TargetName::Unknown, written_elsewhere: false };

fn look(credential: &ZohoCredential, now: Time) -> Custody {
    Watching::default().look(credential, NOTHING, US, now)
}

fn version(number: &str) -> ObjectVersion {
    ObjectVersion::from(format!("u/{number}").as_str())
}

/// An object that rests for this reason, and announces nothing.
fn resting(reason: Reason) -> ZohoCredential {
    let mut conditions = renewable("False");
    conditions[0]["reason"] = json!(reason.as_str());
    others(&json!({ "conditions": conditions }))
}

/// Whether it is left alone, without an end, each time that it is looked at while this stands around it.
fn is_left_alone(credential: &ZohoCredential, stories: &[Around<'_>]) -> bool {
    let mut watching = Watching::default();
    stories.iter().all(|around| watching.look(credential, *around, US, at(0)) == left_alone(None))
}

fn secret(annotations: &Value, controller: Option<&str>) -> SecretSeen {
    let owners = controller
        .map(|uid| json!([{ "apiVersion": "v1", "kind": "Some", "name": "some", "uid": uid, "controller": true }]));
    let meta = json!({ "uid": "s", "resourceVersion": "7", "annotations": annotations, "ownerReferences": owners });
    SecretSeen::of(&serde_json::from_value(meta).unwrap())
}

fn left_alone(until: Option<Time>) -> Custody {
    Custody::Others { by: OTHER.into(), until }
}

fn abandoned() -> Custody {
    Custody::Abandoned { by: OTHER.into() }
}

#[test]
fn name_in_the_status_says_whose_it_is() {
    assert_eq!(look(&credential(&json!({})), at(0)), Custody::Nobodys);
    assert_eq!(look(&credential(&json!({ "servedBy": "" })), at(0)), Custody::Nobodys);
    assert_eq!(look(&credential(&json!({ "servedBy": US })), at(0)), Custody::Ours);
    assert_eq!(look(&others(&json!({})), at(0)), left_alone(None));
}

#[test]
fn object_whose_target_another_installation_has_written_is_its_own_for_two_minutes() {
    let new = credential(&json!({}));
    let around = Around { written_elsewhere: true, ..NOTHING };
    let mut watching = Watching::default();
    let mut look = |around, now| watching.look(&new, around, US, now);
    assert_eq!(look(around, at(0)), Custody::Unclaimed { until: at(120) });
    assert_eq!(look(around, at(119)), Custody::Unclaimed { until: at(120) });
    assert_eq!(look(around, at(120)), Custody::Nobodys, "it does not say so");
    assert_eq!(look(NOTHING, at(121)), Custody::Nobodys);
    assert_eq!(look(around, at(130)), Custody::Unclaimed { until: at(250) });
    assert_eq!(look(around, at(-3600)), Custody::Unclaimed { until: at(-3480) }, "a clock set back");
    assert_eq!(look(Around { written_elsewhere: false, ..around }, at(0)), Custody::Nobodys);
}

#[test]
fn target_under_another_key_was_written_elsewhere() {
    let (ours, other) = (HashKey::new(&[7; 32]).unwrap(), HashKey::new(&[8; 32]).unwrap());
    let mut object = credential(&json!({}));
    object.metadata.uid = Some("uid".into());
    let made_by = |key: &HashKey, controller| {
        let inputs = key.seal_of_status(&["inputs"]);
        let record = json!({ keys::ISSUED_AT: "2026-01-01T00:00:00Z", keys::EXPIRES_AT: "2026-01-01T01:00:00Z",
            keys::MINTED_FROM: inputs, keys::ATTEMPT: "attempt" });
        is_written_elsewhere(&object, &secret(&record, controller), &ours)
    };
    assert!(made_by(&other, Some("uid")));
    assert!(!made_by(&ours, Some("uid")));
    assert!(!made_by(&other, Some("another")), "it is somebody's");
    assert!(!made_by(&other, None));
}

#[test]
fn installation_that_misses_what_it_announced_by_two_minutes_has_abandoned_it() {
    let table = [
        ("the next attempt", json!({ "nextAttemptTime": at(100), "renewalTime": at(9000) })),
        ("else the renewal", json!({ "renewalTime": at(100) })),
    ];
    for (name, status) in table {
        let others = others(&status);
        assert_eq!(look(&others, at(0)), left_alone(Some(at(220))), "{name}");
        assert_eq!(look(&others, at(219)), left_alone(Some(at(220))), "{name}");
        assert_eq!(look(&others, at(220)), abandoned(), "{name}");
    }
}

#[test]
fn where_a_person_must_act_nothing_was_missed() {
    let parked = others(&json!({ "renewalTime": at(-9000), "conditions": renewable("False") }));
    assert_eq!(look(&parked, at(0)), left_alone(None));
}

#[test]
fn change_of_the_spec_that_is_not_looked_at_for_two_minutes_counts() {
    let mut watching = Watching::default();
    let edited = others(&json!({ "observedGeneration": 1, "nextAttemptTime": at(9000) }));
    let mut look = |credential: &ZohoCredential, now| watching.look(credential, NOTHING, US, now);
    assert_eq!(look(&edited, at(0)), left_alone(Some(at(120))));
    assert_eq!(look(&edited, at(119)), left_alone(Some(at(120))));
    // The other one was slow, not gone.
    let seen = others(&json!({ "nextAttemptTime": at(9000) }));
    assert_eq!(look(&seen, at(119)), left_alone(Some(at(9120))));
    assert_eq!(look(&edited, at(130)), left_alone(Some(at(250))), "counted anew");
    assert_eq!(look(&edited, at(250)), abandoned());
    assert_eq!(look(&edited, at(-3600)), left_alone(Some(at(-3480))), "by a clock that was set back since");
}

#[test]
fn corrected_source_that_nobody_looks_at_counts_where_nothing_else_is_announced() {
    let (one, two) = (version("1"), version("2"));
    let of = |source| Around { source: Some(source), ..NOTHING };
    let parked = others(&json!({ "conditions": renewable("False") }));
    let mut watching = Watching::default();
    let mut look = |source, now| watching.look(&parked, of(source), US, now);
    assert_eq!(look(&one, at(0)), left_alone(None));
    assert_eq!(look(&two, at(10)), left_alone(Some(at(130))));
    assert_eq!(look(&two, at(130)), abandoned());

    let renews = others(&json!({ "renewalTime": at(9000) }));
    let mut watching = Watching::default();
    for source in [&one, &two] {
        assert_eq!(watching.look(&renews, of(source), US, at(0)), left_alone(Some(at(9120))));
    }
}

#[test]
fn change_of_the_source_says_nothing_where_the_other_one_waits_for_something_else() {
    let (one, two) = (version("1"), version("2"));
    let changed = [&one, &two].map(|source| Around { source: Some(source), target: TargetName::Free, ..NOTHING });
    let table = [
        (Reason::Suspended, true),
        (Reason::InvalidSpec, true),
        (Reason::AccountsHostNotAllowed, true),
        (Reason::ServerNotAllowed, true),
        (Reason::TemplateFailed, true),
        (Reason::TargetTooLarge, true),
        (Reason::SourceSecretInvalid, false),
        (Reason::RefreshTokenRejected, false),
        (Reason::LoginRejected, false),
    ];
    for (reason, expected) in table {
        assert_eq!(is_left_alone(&resting(reason), &changed), expected, "{}", reason.as_str());
    }
}

#[test]
fn source_that_is_heard_of_late_is_no_change_but_where_it_was_missed() {
    let one = version("1");
    let (none, some) = (NOTHING, Around { source: Some(&one), ..NOTHING });
    assert!(is_left_alone(&resting(Reason::SourceSecretInvalid), &[none, some, none]));
    assert!(is_left_alone(&resting(Reason::SourceSecretNotFound), &[none, none]));
    // Also by one that was restarted since.
    assert!(!is_left_alone(&resting(Reason::SourceSecretNotFound), &[some]));
}

#[test]
fn target_that_is_not_in_the_way_any_more_and_that_nobody_looks_at_counts() {
    let (theirs, again) = (secret(&json!({}), Some("x")), secret(&json!({}), Some("y")));
    let adopted = secret(&json!({ keys::ADOPT: "one" }), None);
    let record = json!({ keys::ISSUED_AT: "2026-01-01T00:00:00Z", keys::EXPIRES_AT: "2026-01-01T01:00:00Z",
        keys::MINTED_FROM: "inputs", keys::ATTEMPT: "attempt" });
    let unsealed = secret(&record, None);
    let of = |target| Around { target: TargetName::Taken(target), ..NOTHING };
    let free = Around { target: TargetName::Free, ..NOTHING };
    let table: [(&str, &[Around<'_>], bool, bool); 6] = [
        (
            "somebody's, then another one's, then without an owner",
            &[of(&theirs), of(&again), of(&unsealed)],
            true,
            true,
        ),
        ("not known", &[of(&theirs), NOTHING], true, true),
        ("gone", &[of(&theirs), free], false, false),
        ("gone, seen after a restart", &[free], false, false),
        ("given to the object", &[of(&theirs), of(&adopted)], false, true),
        ("given already when the word was heard", &[of(&adopted), of(&adopted)], true, true),
    ];
    for (what, around, not_owned, immutable) in table {
        assert_eq!(is_left_alone(&resting(Reason::TargetNotOwned), around), not_owned, "{what}");
        assert_eq!(is_left_alone(&resting(Reason::TargetImmutable), around), immutable, "{what}");
    }
    let mut watching = Watching::default();
    let object = resting(Reason::TargetNotOwned);
    assert_eq!(watching.look(&object, free, US, at(0)), left_alone(Some(at(120))));
    assert_eq!(watching.look(&object, of(&theirs), US, at(60)), left_alone(None), "in the way again");
    assert_eq!(watching.look(&object, free, US, at(70)), left_alone(Some(at(190))));
    assert_eq!(watching.look(&object, free, US, at(190)), abandoned());
}

#[test]
fn first_mint_that_does_not_end_in_ten_minutes_was_abandoned() {
    let mut conditions = renewable("Unknown");
    conditions[0]["reason"] = json!("Minting");
    let minting = others(&json!({ "conditions": conditions }));
    let mut watching = Watching::default();
    assert_eq!(watching.look(&minting, NOTHING, US, at(0)), left_alone(Some(at(600))));
    assert_eq!(watching.look(&minting, NOTHING, US, at(599)), left_alone(Some(at(600))));
    assert_eq!(watching.look(&minting, NOTHING, US, at(600)), abandoned());
    assert_eq!(watching.look(&minting, NOTHING, US, at(-3600)), left_alone(Some(at(-3000))), "a clock set back");
}

#[test]
fn token_that_is_called_valid_after_its_end_was_abandoned() {
    let ready = |status: &str| {
        let mut conditions = renewable("False").as_array().unwrap().clone();
        conditions.push(json!({ "type": "Ready", "status": status, "reason": "TokenValid", "message": "",
            "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z" }));
        others(&json!({ "expirationTime": at(100), "conditions": conditions }))
    };
    assert_eq!(look(&ready("True"), at(0)), left_alone(Some(at(220))));
    assert_eq!(look(&ready("True"), at(220)), abandoned());
    assert_eq!(look(&ready("False"), at(220)), left_alone(None), "it has said so");
}

#[test]
fn announcement_that_nobody_would_make_is_not_believed_for_long() {
    let far = "9999-01-01T00:00:00Z";
    let ready = json!([{ "type": "Ready", "status": "True", "reason": "TokenValid", "message": "",
        "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    let valid = others(&json!({ "nextAttemptTime": far, "expirationTime": far, "conditions": ready }));
    let waiting = others(&json!({ "nextAttemptTime": far, "conditions": renewable("False") }));
    for (planted, ends_after) in [(valid, 3600 + 120), (waiting, 24 * 3600 + 120)] {
        let mut watching = Watching::default();
        assert_eq!(watching.look(&planted, NOTHING, US, at(0)), left_alone(Some(at(ends_after))));
        assert_eq!(watching.look(&planted, NOTHING, US, at(ends_after)), abandoned());
    }
}

#[test]
fn annotation_hands_it_over_at_once() {
    let mut others = others(&json!({ "nextAttemptTime": at(9000) }));
    for (wanted, expected) in [(US, abandoned()), ("somebody/else", left_alone(Some(at(9120))))] {
        others.metadata.annotations = Some([(keys::SERVED_BY.to_owned(), wanted.to_owned())].into());
        assert_eq!(look(&others, at(0)), expected);
    }
}

proptest! {
    #[test]
    fn two_installations_never_both_call_an_object_theirs(
        by in prop_oneof![Just(""), Just(US), Just(OTHER)],
        next in proptest::option::of(-9000i64..9000),
        renewal in proptest::option::of(-9000i64..9000),
        is_renewable in any::<bool>(),
        now in -9000i64..9000,
    ) {
        let conditions = renewable(if is_renewable { "True" } else { "False" });
        let credential = credential(&json!({ "servedBy": by, "nextAttemptTime": next.map(at), "renewalTime": renewal.map(at),
            "observedGeneration": 2, "conditions": conditions }));
        let of = |us: &str| Watching::default().look(&credential, NOTHING, us, at(now));
        prop_assert!(!(of(US) == Custody::Ours && of(OTHER) == Custody::Ours));
        if let Custody::Others { until: Some(until), .. } = of(US) {
            prop_assert!(until > at(now));
        }
    }
}
