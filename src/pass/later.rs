//! Whose good news waits behind a burst. The rule is in `zoho_core::burst`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zoho_api::Time;
use zoho_api::names::ObjectName;
use zoho_core::burst::Bursts;

/// Good news that waits.
#[derive(Default)]
pub(crate) struct News {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bursts: Bursts,
    /// By namespace.
    owed: BTreeMap<Arc<str>, BTreeSet<ObjectName>>,
}

impl News {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A target was written.
    pub(crate) fn stored(&self, key: &ObjectName, now: Time) {
        self.lock().bursts.stored(&key.namespace, now);
    }

    /// Until when news of an object that came at `since` waits at most; `None` where it is to be told now.
    pub(crate) fn may_wait(&self, key: &ObjectName, since: Time, now: Time) -> Option<Time> {
        let mut state = self.lock();
        let until = state.bursts.may_wait(&key.namespace, since, now)?;
        state.owed.entry(key.namespace.clone()).or_default().insert(key.clone());
        Some(until)
    }

    /// The news was told, or there is no such object any more.
    pub(crate) fn forget(&self, key: &ObjectName) {
        let mut state = self.lock();
        if let Some(owed) = state.owed.get_mut(&key.namespace) {
            owed.remove(key);
            if owed.is_empty() {
                state.owed.remove(&key.namespace);
            }
        }
    }

    /// Is there any that waits?
    pub(crate) fn is_owed(&self) -> bool {
        !self.lock().owed.is_empty()
    }

    /// Some of the objects whose news need not wait any more, now that there is no burst: of each namespace no more than there
    /// is room for.
    pub(crate) fn due(&self, most: usize, room_for: impl Fn(&str) -> usize, now: Time) -> Vec<ObjectName> {
        let mut state = self.lock();
        if state.bursts.is_on(now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        state.owed.retain(|namespace, owed| {
            let room = (most - due.len()).min(room_for(namespace));
            due.extend(std::iter::from_fn(|| owed.pop_first()).take(room));
            !owed.is_empty()
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_come_and_go_in_a_burst_leave_nothing_behind() {
        let (news, now) = (News::default(), Time::from_unix(1_000));
        for number in 0..1_000 {
            let key = ObjectName::new("ns", &format!("c{number}"));
            news.stored(&key, now);
            if news.may_wait(&key, now, now).is_some() {
                assert!(news.is_owed());
            }
            news.forget(&key);
        }
        assert!(news.may_wait(&ObjectName::new("ns", "last"), now, now).is_some(), "there is a burst");
        assert_eq!(news.lock().owed.len(), 1);
    }

    #[test]
    fn news_without_room_is_passed_over_and_that_of_other_namespaces_is_told() {
        let (news, now) = (News::default(), Time::from_unix(1_000));
        for number in 0..40 {
            for namespace in ["full", "other", "third"] {
                let key = ObjectName::new(namespace, &format!("c{number}"));
                news.stored(&key, now);
                news.may_wait(&key, now, now);
            }
        }
        let later = now + std::time::Duration::from_secs(9);
        let room_for = |namespace: &str| if namespace == "full" { 0 } else { 3 };
        let namespaces: Vec<_> = news.due(32, room_for, later).into_iter().map(|key| key.namespace).collect();
        assert_eq!(namespaces, ["other", "other", "other", "third", "third", "third"].map(Into::into));
        assert_eq!(news.due(5, |_| 9, later).len(), 5);
        assert!(news.due(0, |_| 9, later).is_empty() && news.is_owed());
    }
}
