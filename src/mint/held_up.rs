//! Objects that a hold or a refusal of their inputs keeps from minting: a token that another one gets is theirs, too.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use zoho_api::Time;
use zoho_api::names::{InputsDigest, ObjectName};

/// What came so lately may be of a pass that has not ended, so nobody knows yet that its inputs are in use.
pub(super) const IS_NEW_FOR: Duration = Duration::from_mins(2);

/// See the module.
#[derive(Default)]
pub(super) struct HeldUp(HashMap<InputsDigest, Held>);

struct Held {
    objects: HashSet<ObjectName>,
    /// When one of them came last.
    at: Time,
}

impl HeldUp {
    /// The object waits for a token of these inputs.
    pub(super) fn add(&mut self, inputs: &InputsDigest, object: &ObjectName, now: Time) {
        let held = self.0.entry(inputs.clone()).or_insert_with(|| Held { objects: HashSet::new(), at: now });
        held.objects.insert(object.clone());
        held.at = now;
    }

    /// There is one: who waited for it.
    pub(super) fn take(&mut self, inputs: &InputsDigest) -> HashSet<ObjectName> {
        self.0.remove(inputs).map(|held| held.objects).unwrap_or_default()
    }

    /// Forgets objects that are gone, and inputs that are not in use any more.
    pub(super) fn forget_unused(
        &mut self,
        in_use: &HashSet<InputsDigest>,
        is_there: impl Fn(&ObjectName) -> bool,
        now: Time,
    ) {
        self.0.retain(|of, held| {
            held.objects.retain(&is_there);
            !held.objects.is_empty() && (in_use.contains(of) || held.at + IS_NEW_FOR > now)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_once_and_is_forgotten_only_when_its_inputs_are_long_out_of_use() {
        let (mut held_up, now) = (HeldUp::default(), Time::from_unix(1_000));
        let (one, two) = (ObjectName::new("ns", "one"), ObjectName::new("ns", "two"));
        let (old, new): (InputsDigest, InputsDigest) = ("old".into(), "new".into());
        let nothing = HashSet::new();
        held_up.add(&old, &one, now);
        held_up.add(&new, &one, now + Duration::from_secs(60));
        held_up.add(&new, &two, now + Duration::from_secs(61));
        // The pass that brought the new ones still runs.
        held_up.forget_unused(&nothing, |_| true, now + Duration::from_secs(121));
        assert_eq!(held_up.take(&old), HashSet::new());
        held_up.forget_unused(&[new.clone()].into(), |object| *object != two, now + Duration::from_secs(9_000));
        assert_eq!(held_up.take(&new), [one.clone()].into());
        assert_eq!(held_up.take(&new), HashSet::new());
        held_up.add(&new, &one, now);
        held_up.forget_unused(&[new.clone()].into(), |_| false, now);
        assert!(held_up.0.is_empty());
    }
}
