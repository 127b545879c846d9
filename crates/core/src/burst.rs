//! Is much being made at once? Then Secrets come first, and what is said of them later. Pure; the clock is an argument.
//!
//! The API server bounds how many credentials are served a second, so in a burst what counts is which calls stand between
//! an object and its Secret: a status and an Event do not. Only good news waits, and only for a time: long behind the burst
//! of its own namespace, shortly behind those of others.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use zoho_api::{ConditionStatus, ConditionType, Time, ZohoCredentialStatus};

/// So many Secrets within a second are a burst.
const MANY: usize = 16;
const A_SECOND: Duration = Duration::from_secs(1);
/// Longest time that good news waits while its own namespace has a burst. Another installation takes over what it hears nothing of
/// for two minutes, see [`crate::facts::custody::LATE`].
const BEHIND_OWN: Duration = Duration::from_mins(1);
/// Longest time that good news waits while others have one.
const BEHIND_OTHERS: Duration = Duration::from_secs(5);
/// From so many namespaces on those without a burst are forgotten.
const MOST_NAMESPACES: usize = 64;

/// When Secrets were stored lately: of all, and of each namespace.
#[derive(Debug, Default)]
pub struct Bursts {
    all: Latest,
    of: HashMap<Arc<str>, Latest>,
}

/// The latest of them, at most [`MANY`].
#[derive(Debug, Default)]
struct Latest(VecDeque<Time>);

impl Latest {
    fn note(&mut self, now: Time) {
        if self.0.len() == MANY {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// One that lies in the future was noted before the clock was set back.
    fn is_burst(&self, now: Time) -> bool {
        let is_recent = |at: &Time| *at <= now && *at + A_SECOND >= now;
        self.0.len() == MANY && self.0.iter().all(is_recent)
    }
}

impl Bursts {
    /// A Secret was stored for an object of the namespace.
    pub fn stored(&mut self, namespace: &Arc<str>, now: Time) {
        self.all.note(now);
        if self.of.len() >= MOST_NAMESPACES && !self.of.contains_key(namespace) {
            self.of.retain(|_, latest| latest.is_burst(now));
        }
        self.of.entry(namespace.clone()).or_default().note(now);
    }

    /// Is there a burst?
    pub fn is_on(&self, now: Time) -> bool {
        self.all.is_burst(now)
    }

    /// Until when good news of an object of the namespace, which was to be told at `since`, may wait at most; `None` where it
    /// is to be told now.
    pub fn may_wait(&self, namespace: &str, since: Time, now: Time) -> Option<Time> {
        let longest = match self.of.get(namespace) {
            Some(own) if own.is_burst(now) => BEHIND_OWN,
            _ if self.all.is_burst(now) => BEHIND_OTHERS,
            _ => return None,
        };
        Some(since + longest).filter(|until| since <= now && *until > now)
    }
}

/// Is all well that a status says? Then a person loses nothing by reading it later.
pub fn is_good_news(status: &ZohoCredentialStatus) -> bool {
    let is = |type_, wanted| status.condition(type_).is_some_and(|condition| condition.status == wanted);
    let is_bad = is(ConditionType::Renewable, ConditionStatus::False)
        || is(ConditionType::Verified, ConditionStatus::False)
        || is(ConditionType::Stalled, ConditionStatus::True);
    is(ConditionType::Ready, ConditionStatus::True) && !is_bad
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_unix(1_000_000 + seconds)
    }

    /// So many Secrets of a namespace, within a second.
    fn burst(namespace: &str, count: usize) -> Bursts {
        let mut bursts = Bursts::default();
        for _ in 0..count {
            bursts.stored(&Arc::from(namespace), at(0));
        }
        bursts
    }

    #[test]
    fn good_news_does_not_wait_until_others_take_over() {
        assert!(BEHIND_OWN * 2 <= crate::facts::custody::LATE);
    }

    #[test]
    fn good_news_waits_long_behind_its_own_burst_and_shortly_behind_others() {
        let bursts = burst("many", 20);
        assert_eq!(bursts.may_wait("many", at(0), at(0)), Some(at(60)));
        assert_eq!(bursts.may_wait("few", at(0), at(0)), Some(at(5)));
        assert_eq!(bursts.may_wait("few", at(-5), at(0)), None, "it has waited long enough");
        assert_eq!(bursts.may_wait("many", at(-5), at(0)), Some(at(55)));
        assert_eq!(bursts.may_wait("many", at(-60), at(0)), None, "so has this");
    }

    #[test]
    fn nothing_waits_where_there_is_no_burst() {
        let few = burst("ns", MANY - 1);
        assert_eq!((few.is_on(at(0)), few.may_wait("ns", at(0), at(0))), (false, None));
        let many = burst("ns", MANY);
        assert!(many.is_on(at(1)));
        assert!(!many.is_on(at(2)), "it ends with the last one");
        assert_eq!(
            (many.is_on(at(-3600)), many.may_wait("ns", at(0), at(-3600))),
            (false, None),
            "no clock makes it last"
        );
    }

    #[test]
    fn good_news_is_good_in_all_that_it_says() {
        let status = |conditions: &[(&str, &str)]| {
            let conditions: Vec<_> = conditions
                .iter()
                .map(|(type_, status)| {
                    json!({
                        "type": type_, "status": status, "reason": "R", "message": "", "observedGeneration": 1,
                        "lastTransitionTime": at(0),
                    })
                })
                .collect();
            serde_json::from_value::<ZohoCredentialStatus>(json!({ "conditions": conditions })).expect("a status")
        };
        let ready = [("Ready", "True"), ("Renewable", "True")];
        assert!(is_good_news(&status(&ready)));
        assert!(is_good_news(&status(&[ready[0], ready[1], ("Verified", "True")])));
        for bad in [("Verified", "False"), ("Stalled", "True"), ("Renewable", "False")] {
            assert!(!is_good_news(&status(&[ready[0], bad])), "{bad:?}");
        }
        assert!(!is_good_news(&status(&[("Ready", "False")])));
        assert!(!is_good_news(&ZohoCredentialStatus::default()));
    }

    #[test]
    fn namespaces_without_a_burst_are_forgotten() {
        let mut bursts = Bursts::default();
        for number in 0..10_000 {
            bursts.stored(&Arc::from(format!("ns-{number}")), at(number));
        }
        assert!(bursts.of.len() <= MOST_NAMESPACES, "{}", bursts.of.len());
    }
}
