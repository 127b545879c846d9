//! Whose good news waits behind a burst. The rule is in `zoho_core::burst`.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    owed: BTreeSet<ObjectName>,
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
        state.owed.insert(key.clone());
        Some(until)
    }

    /// The news was told, or there is no such object any more.
    pub(crate) fn forget(&self, key: &ObjectName) {
        self.lock().owed.remove(key);
    }

    /// Is there any that waits?
    pub(crate) fn is_owed(&self) -> bool {
        !self.lock().owed.is_empty()
    }

    /// Some of the objects whose news need not wait any more, now that there is no burst.
    pub(crate) fn due(&self, most: usize, now: Time) -> Vec<ObjectName> {
        let mut state = self.lock();
        if state.bursts.is_on(now) {
            return Vec::new();
        }
        std::iter::from_fn(|| state.owed.pop_first()).take(most).collect()
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
}
