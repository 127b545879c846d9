//! Which installation serves an object, where two of them see it. Pure.
//!
//! The status says it (`servedBy`). Another installation's object is left alone for as long as that one does what it
//! announced; then it is taken over, so that no token expires because somebody was uninstalled.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use zoho_api::names::ObjectVersion;
use zoho_api::{ConditionStatus, ConditionType, Time, ZohoCredential, ZohoCredentialStatus, keys};

use super::generation;

/// So late may the other installation be with what it announced.
pub(crate) const LATE: Duration = Duration::from_secs(120);

/// Whose an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Custody {
    /// Nobody's yet.
    Nobodys,
    /// This installation's.
    Ours,
    /// Another one's.
    Others {
        /// Its name.
        by: String,
        /// When it will have missed something, as far as is known now.
        until: Option<Time>,
    },
    /// Another one's that missed what it announced, or that was told to leave it.
    Abandoned {
        /// Its name.
        by: String,
    },
}

/// What one process has noticed of an object that another installation serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watching {
    /// The other one's last word.
    word: u64,
    /// The source as it was then.
    source: Option<u64>,
    /// Since when something is there that the other one has not looked at.
    unseen_since: Option<Time>,
}

impl Watching {
    /// Whose is it? `source`: version of the source Secret, as far as it is known.
    pub fn look(
        &mut self,
        credential: &ZohoCredential,
        source: Option<&ObjectVersion>,
        us: &str,
        now: Time,
    ) -> Custody {
        let none = ZohoCredentialStatus::default();
        let status = credential.status.as_ref().unwrap_or(&none);
        let Some(by) = credential.served_elsewhere(us).map(str::to_owned) else {
            return credential.served_by().map_or(Custody::Nobodys, |_us| Custody::Ours);
        };
        if asked_for(credential) == Some(us) {
            return Custody::Abandoned { by };
        }
        let announced = announced(status);
        self.notice(credential, status, source, announced.is_none(), now);
        let due = [announced, self.unseen_since].into_iter().flatten().map(|at| at + LATE).min();
        match due {
            Some(due) if due <= now => Custody::Abandoned { by },
            until => Custody::Others { by, until },
        }
    }

    /// A generation that the status does not have is unseen; so is a changed source, where the status announces nothing
    /// by which the other one would come to see it.
    fn notice(
        &mut self,
        credential: &ZohoCredential,
        status: &ZohoCredentialStatus,
        source: Option<&ObjectVersion>,
        rests: bool,
        now: Time,
    ) {
        let source = source.map(fingerprint);
        let word = fingerprint(&serde_json::to_string(status).unwrap_or_default());
        if self.word != word {
            *self = Self { word, source, unseen_since: None };
        }
        let is_unseen = status.observed_generation.is_none_or(|seen| seen != generation(credential))
            || (rests && source != self.source);
        self.unseen_since = is_unseen.then(|| self.unseen_since.unwrap_or(now).min(now));
    }
}

/// When the other one will do something, as it says. Where a person must act it announces nothing, and it has not missed a
/// renewal that it cannot make.
fn announced(status: &ZohoCredentialStatus) -> Option<Time> {
    let renews = status.condition(ConditionType::Renewable).is_some_and(|it| it.status == ConditionStatus::True);
    status.next_attempt_time.or(status.renewal_time.filter(|_| renews))
}

/// The installation that a person wants.
fn asked_for(credential: &ZohoCredential) -> Option<&str> {
    credential.metadata.annotations.as_ref()?.get(keys::SERVED_BY).map(String::as_str)
}

fn fingerprint(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
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

    fn look(credential: &ZohoCredential, now: Time) -> Custody {
        Watching::default().look(credential, None, US, now)
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
        let mut look = |credential: &ZohoCredential, now| watching.look(credential, None, US, now);
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
        let version = |number: &str| ObjectVersion::from(format!("u/{number}").as_str());
        let parked = others(&json!({ "conditions": renewable("False") }));
        let mut watching = Watching::default();
        let mut look = |source: &str, now| watching.look(&parked, Some(&version(source)), US, now);
        assert_eq!(look("1", at(0)), left_alone(None));
        assert_eq!(look("2", at(10)), left_alone(Some(at(130))));
        assert_eq!(look("2", at(130)), abandoned());

        let renews = others(&json!({ "renewalTime": at(9000) }));
        let mut watching = Watching::default();
        for source in ["1", "2"] {
            assert_eq!(watching.look(&renews, Some(&version(source)), US, at(0)), left_alone(Some(at(9120))));
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
            let of = |us: &str| Watching::default().look(&credential, None, us, at(now));
            prop_assert!(!(of(US) == Custody::Ours && of(OTHER) == Custody::Ours));
            if let Custody::Others { until: Some(until), .. } = of(US) {
                prop_assert!(until > at(now));
            }
        }
    }
}
