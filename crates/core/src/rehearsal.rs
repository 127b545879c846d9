//! Which Secrets need no rehearsal, since one of the same shape was created a moment ago. Pure; the clock is an argument.
//!
//! What would refuse a create (a quota, a policy, missing rights) is found by a dry run before anything is minted. Where a
//! Secret of the same shape was just created in the same namespace, that says as much. What tells Secrets apart by their
//! names alone is not found by it; then one token is minted that waits in memory until it can be stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest as _, Sha256};
use zoho_api::{GROUP, Time};

/// For so long a create speaks for the next ones.
const SPEAKS_FOR: Duration = Duration::from_secs(10);
/// More shapes and namespaces than this are not remembered.
const MOST: usize = 1000;

/// All of a Secret that rules may look at, but for its name and what differs between any two of ours: as a fingerprint, since
/// whoever writes a credential chooses how long it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    namespace: String,
    fingerprint: [u8; 32],
}

impl Shape {
    /// The shape of a Secret as it would be created.
    pub fn of(secret: &Secret) -> Self {
        let meta = &secret.metadata;
        // Ours say which object and token it is for.
        let pair =
            |(key, value): (&String, &String)| (key.clone(), Some(value.clone()).filter(|_| !key.starts_with(GROUP)));
        let labels: BTreeMap<_, _> = meta.labels.iter().flatten().map(pair).collect();
        let annotations: BTreeMap<_, _> = meta.annotations.iter().flatten().map(pair).collect();
        let keys: BTreeSet<&String> = secret.data.iter().flatten().map(|(key, _)| key).collect();
        let all = serde_json::to_vec(&(&secret.type_, secret.immutable, labels, annotations, keys)).unwrap_or_default();
        Self { namespace: meta.namespace.clone().unwrap_or_default(), fingerprint: Sha256::digest(all).into() }
    }
}

/// What creates came to lately.
#[derive(Debug, Default)]
pub struct Rehearsals {
    passed: HashMap<Shape, Time>,
    /// How often a Secret was refused, by namespace.
    refusals: HashMap<String, u64>,
}

impl Rehearsals {
    /// A Secret of this shape was created, or would have been. `refusals` is what [`Self::refusals`] was when that was asked
    /// for: an answer that comes after a refusal may be older than it, and says nothing.
    pub fn passed(&mut self, shape: Shape, refusals: u64, now: Time) {
        if self.refusals(&shape.namespace) != refusals {
            return;
        }
        self.passed.retain(|_, at| is_within(*at, SPEAKS_FOR, now));
        if self.passed.len() < MOST || self.passed.contains_key(&shape) {
            self.passed.insert(shape, now);
        }
    }

    /// A Secret was refused: nothing speaks for the next one in that namespace.
    pub fn refused(&mut self, namespace: &str) {
        self.passed.retain(|shape, _| shape.namespace != namespace);
        if self.refusals.len() >= MOST && !self.refusals.contains_key(namespace) {
            // Whoever compares then looks again without need.
            self.refusals.clear();
        }
        *self.refusals.entry(namespace.to_owned()).or_default() += 1;
    }

    /// Does a create of a moment ago say that this one would pass?
    pub fn is_proven(&self, shape: &Shape, now: Time) -> bool {
        self.passed.get(shape).is_some_and(|at| is_within(*at, SPEAKS_FOR, now))
    }

    /// How often a Secret was refused in the namespace. Where that has changed since something was decided, it is decided
    /// again.
    pub fn refusals(&self, namespace: &str) -> u64 {
        self.refusals.get(namespace).copied().unwrap_or_default()
    }
}

/// One of the future was noted before the clock was set back, and says nothing.
fn is_within(at: Time, within: Duration, now: Time) -> bool {
    at <= now && at + within > now
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_unix(1_000_000 + seconds)
    }

    fn secret(name: &str, edit: &serde_json::Value) -> Secret {
        let mut secret = json!({
            "metadata": {
                "name": name, "namespace": "ns", "labels": { "team": "a" },
                "annotations": { "zoho-operator.dev/attempt": name, "example.com/x": "y" },
            },
            "type": "Opaque", "data": { "access_token": "", "api_url": "" },
        });
        for (path, value) in edit.as_object().into_iter().flatten() {
            let (parent, key) = path.rsplit_once('/').expect("a path");
            secret.pointer_mut(parent).expect("a parent")[key.replace("~1", "/")] = value.clone();
        }
        serde_json::from_value(secret).expect("a Secret")
    }

    #[test]
    fn create_speaks_for_the_next_of_its_shape_for_a_while() {
        let mut rehearsals = Rehearsals::default();
        let next = Shape::of(&secret("next", &json!({})));
        assert!(!rehearsals.is_proven(&next, at(0)));
        rehearsals.passed(Shape::of(&secret("first", &json!({}))), 0, at(0));
        assert!(rehearsals.is_proven(&next, at(9)));
        assert!(!rehearsals.is_proven(&next, at(10)), "a quota may be used up by then");
        assert!(!rehearsals.is_proven(&next, at(-1)), "the clock was set back");
    }

    #[test]
    fn other_shapes_are_rehearsed() {
        let mut rehearsals = Rehearsals::default();
        rehearsals.passed(Shape::of(&secret("first", &json!({}))), 0, at(0));
        for edit in [
            json!({ "/metadata/namespace": "other" }),
            json!({ "/metadata/labels/team": "b" }),
            json!({ "/metadata/labels/more": "b" }),
            json!({ "/metadata/annotations/example.com~1x": "z" }),
            json!({ "/data/more": "" }),
            json!({ "/type": "other" }),
            json!({ "/immutable": true }),
        ] {
            assert!(!rehearsals.is_proven(&Shape::of(&secret("next", &edit)), at(1)), "{edit}");
        }
    }

    #[test]
    fn refusal_ends_it_for_its_namespace() {
        let mut rehearsals = Rehearsals::default();
        let (here, elsewhere) = (json!({}), json!({ "/metadata/namespace": "other" }));
        for edit in [&here, &elsewhere] {
            rehearsals.passed(Shape::of(&secret("first", edit)), 0, at(0));
        }
        let decided = rehearsals.refusals("ns");
        rehearsals.refused("ns");
        assert!(!rehearsals.is_proven(&Shape::of(&secret("next", &here)), at(1)));
        assert!(rehearsals.is_proven(&Shape::of(&secret("next", &elsewhere)), at(1)));
        assert_ne!(rehearsals.refusals("ns"), decided, "what was decided before is decided again");
        assert_eq!(rehearsals.refusals("other"), 0);
    }

    #[test]
    fn answer_that_comes_after_a_refusal_and_was_asked_for_before_says_nothing() {
        let mut rehearsals = Rehearsals::default();
        let shape = || Shape::of(&secret("first", &json!({})));
        let asked = rehearsals.refusals("ns");
        rehearsals.refused("ns");
        rehearsals.passed(shape(), asked, at(0));
        assert!(!rehearsals.is_proven(&shape(), at(1)), "the last place in a quota was taken before the refusal");
        rehearsals.passed(shape(), rehearsals.refusals("ns"), at(2));
        assert!(rehearsals.is_proven(&shape(), at(3)), "what was asked for since counts");
    }

    #[test]
    fn memory_is_bounded() {
        let mut rehearsals = Rehearsals::default();
        for number in 0..3000 {
            let namespace = json!({ "/metadata/namespace": format!("ns-{number}") });
            rehearsals.passed(Shape::of(&secret("s", &namespace)), 0, at(0));
            rehearsals.refused(&format!("other-{number}"));
        }
        assert!(rehearsals.passed.len() <= MOST && rehearsals.refusals.len() <= MOST);
    }
}
