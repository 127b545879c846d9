//! Places that namespaces share, so that no tenant delays another: who may take one more, and whose turn it is. Pure.
//!
//! A namespace has no more than three places for each one that is free: one that wants all of them gets three quarters,
//! two get three sevenths each, and a newcomer finds a free place at once. Where places are free for nobody they go round
//! the namespaces that wait.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// A namespace may have so many places for each that is free.
const FOR_EACH_FREE: usize = 3;

/// See the module.
#[derive(Debug)]
pub struct Shares {
    free: usize,
    taken: HashMap<Arc<str>, usize>,
    /// The namespace whose turn it was last.
    last: Option<Arc<str>>,
}

impl Shares {
    /// So many places, all of them free.
    pub fn new(places: usize) -> Self {
        Self { free: places, taken: HashMap::new(), last: None }
    }

    /// May the namespace take one more place?
    pub fn has_place_for(&self, namespace: &str) -> bool {
        let Some(free_after) = self.free.checked_sub(1) else { return false };
        self.taken.get(namespace).is_none_or(|taken| *taken < free_after.saturating_mul(FOR_EACH_FREE))
    }

    /// How many more places the namespace may take, one after another.
    pub fn room_for(&self, namespace: &str) -> usize {
        let taken = self.taken.get(namespace).copied().unwrap_or_default();
        let shared = self.free.saturating_sub(1).saturating_mul(FOR_EACH_FREE);
        let more = shared.saturating_sub(taken).div_ceil(FOR_EACH_FREE + 1);
        // The first is there for everybody.
        if taken == 0 { more.max(self.free.min(1)) } else { more }
    }

    /// Whose turn it is: the next of those who wait, in the order of their names, that is ready and may take a place.
    pub fn next<T>(&self, waiting: &BTreeMap<Arc<str>, T>, is_ready: impl Fn(&T) -> bool) -> Option<Arc<str>> {
        if self.free == 0 {
            return None;
        }
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let round = waiting.range((after, Bound::Unbounded)).chain(waiting);
        let mut round = round.filter(|(namespace, line)| is_ready(line) && self.has_place_for(namespace));
        round.next().map(|(namespace, _)| namespace.clone())
    }

    /// Places that nobody has.
    pub fn free(&self) -> usize {
        self.free
    }

    /// The namespace takes a place. To be asked for first, see [`Self::has_place_for`].
    pub fn take(&mut self, namespace: &Arc<str>) {
        self.free = self.free.saturating_sub(1);
        *self.taken.entry(namespace.clone()).or_default() += 1;
        self.last = Some(namespace.clone());
    }

    /// The namespace gives a place back that it took.
    pub fn give_back(&mut self, namespace: &str) {
        let Some(taken) = self.taken.get_mut(namespace) else { return };
        *taken -= 1;
        self.free += 1;
        if *taken == 0 {
            self.taken.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many places each of so many namespaces gets where all of them want as many as they can get.
    fn of_hogs(hogs: usize, places: usize) -> (Vec<usize>, Shares) {
        let names: Vec<Arc<str>> = (0..hogs).map(|hog| format!("hog-{hog}").into()).collect();
        let waiting = names.iter().map(|name| (name.clone(), ())).collect();
        let mut shares = Shares::new(places);
        while let Some(next) = shares.next(&waiting, |()| true) {
            shares.take(&next);
        }
        (names.iter().map(|name| shares.taken.get(name).copied().unwrap_or_default()).collect(), shares)
    }

    #[test]
    fn one_namespace_gets_three_quarters_and_a_newcomer_a_place_at_once() {
        for (hogs, places, each, free) in [(1, 32, 24, 8), (2, 32, 13, 5), (4, 32, 7, 3), (1, 4, 3, 1), (1, 96, 72, 24)]
        {
            let (taken, shares) = of_hogs(hogs, places);
            assert!(taken.iter().all(|taken| taken.abs_diff(each) <= 1), "{hogs} in {places}: {taken:?}");
            assert_eq!(shares.free, free, "{hogs} in {places}: {taken:?}");
            assert!(shares.has_place_for("newcomer"));
        }
    }

    #[test]
    fn last_place_is_for_whoever_has_none() {
        for places in 1..4 {
            let (taken, shares) = of_hogs(1, places);
            assert!(taken[0] >= 1 && (places == 1 || shares.free >= 1), "{places}: {taken:?}");
        }
        let (taken, shares) = of_hogs(40, 32);
        assert_eq!((taken.iter().sum::<usize>(), shares.free), (32, 0), "one each");
    }

    #[test]
    fn room_is_what_can_be_taken() {
        for places in 0..40 {
            for (others, own) in [(0, 0), (0, 1), (1, 0), (5, 3), (20, 0), (20, 9)] {
                let (other, own_name): (Arc<str>, Arc<str>) = ("other".into(), "own".into());
                let mut shares = Shares::new(places);
                for (name, count) in [(&other, others), (&own_name, own)] {
                    for _ in 0..shares.free().min(count) {
                        shares.take(name);
                    }
                }
                let room = shares.room_for("own");
                let takes = std::iter::from_fn(|| shares.has_place_for("own").then(|| shares.take(&own_name)));
                assert_eq!(takes.count(), room, "{places} places, {others} of others, {own} own");
            }
        }
    }

    #[test]
    fn places_come_back() {
        let mut shares = Shares::new(2);
        let name: Arc<str> = "a".into();
        shares.take(&name);
        shares.give_back("a");
        shares.give_back("a");
        assert_eq!((shares.free, shares.taken.len()), (2, 0));
    }
}
