//! The work queue: which objects are due for a pass, and when. Pure; the clock is an argument.
//!
//! By the wall clock, not by timers: a timer stands still while a machine is suspended, a due time does not. No object
//! has two passes at once, and one that fails is left alone for a while, whatever the watches say meanwhile.
//!
//! Each namespace has a line of its own, and those in which somebody is due take turns, see [`Shares`]: however many
//! objects one has, and however often they change, the others are served beside.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use zoho_api::Time;
use zoho_api::names::ObjectName;

use crate::shares::Shares;

/// Longest pause after failures in a row, in seconds.
const LONGEST_PAUSE: u64 = 30;

#[derive(Debug, Default)]
struct Slot {
    due: Option<Time>,
    running: bool,
    not_before: Option<Time>,
    failures: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    /// Objects that are not running, by when they are due; of each namespace.
    lines: BTreeMap<Arc<str>, BTreeSet<(Time, ObjectName)>>,
    slots: HashMap<ObjectName, Slot>,
    shares: Shares,
}

impl Queue {
    /// At most so many objects are running at once.
    pub fn new(places: usize) -> Self {
        Self { lines: BTreeMap::new(), slots: HashMap::new(), shares: Shares::new(places) }
    }

    /// A pass over the object is due at `at`, or earlier if it was due earlier already.
    pub fn add(&mut self, key: ObjectName, at: Time) {
        let slot = self.slots.entry(key.clone()).or_default();
        let at = slot.not_before.map_or(at, |not_before| at.max(not_before));
        if slot.due.is_some_and(|due| due <= at) {
            return;
        }
        let was_due = slot.due.replace(at);
        if slot.running {
            return;
        }
        if let Some(due) = was_due {
            self.leave_line(due, &key);
        }
        self.line_up(at, key);
    }

    /// The object that has been due longest in the namespace whose turn it is; it is running until [`Self::finish`]. None
    /// where nothing is due, or only where a namespace has its share of places.
    pub fn take(&mut self, now: Time) -> Option<ObjectName> {
        let is_due = |line: &BTreeSet<(Time, ObjectName)>| line.first().is_some_and(|(at, _)| *at <= now);
        let namespace = self.shares.next(&self.lines, is_due)?;
        let (at, key) = self.lines.get(&namespace)?.first()?.clone();
        self.leave_line(at, &key);
        self.shares.take(&namespace);
        let slot = self.slots.entry(key.clone()).or_default();
        slot.running = true;
        slot.due = None;
        Some(key)
    }

    /// The pass is over; the next one is due at `next`, or when a watch says so.
    pub fn finish(&mut self, key: &ObjectName, next: Option<Time>) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.failures = 0;
            slot.not_before = None;
        }
        self.release(key, next);
    }

    /// The pass failed: the next one is due after a pause of 1, 2, 4 … 30 s.
    pub fn fail(&mut self, key: &ObjectName, now: Time) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let pause = Duration::from_secs((1u64 << slot.failures.min(5)).min(LONGEST_PAUSE));
        slot.failures = slot.failures.saturating_add(1);
        slot.not_before = Some(now + pause);
        slot.due = None;
        self.release(key, Some(now + pause));
    }

    fn release(&mut self, key: &ObjectName, next: Option<Time>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.running = false;
        slot.due = [slot.due, next].into_iter().flatten().min();
        let due = slot.due;
        self.shares.give_back(&key.namespace);
        match due {
            Some(due) => self.line_up(due, key.clone()),
            None => drop(self.slots.remove(key)),
        }
    }

    fn line_up(&mut self, at: Time, key: ObjectName) {
        self.lines.entry(key.namespace.clone()).or_default().insert((at, key));
    }

    fn leave_line(&mut self, at: Time, key: &ObjectName) {
        let Some(line) = self.lines.get_mut(&key.namespace) else { return };
        line.remove(&(at, key.clone()));
        if line.is_empty() {
            self.lines.remove(&key.namespace);
        }
    }

    /// The object is gone: it is due no more, unless a pass over it is running.
    pub fn remove(&mut self, key: &ObjectName) {
        if self.slots.get(key).is_some_and(|slot| !slot.running)
            && let Some(due) = self.slots.remove(key).and_then(|slot| slot.due)
        {
            self.leave_line(due, key);
        }
    }

    /// The wall clock was set back: due times and pauses were meant for another time, so everything is looked at now.
    pub fn clock_was_set_back(&mut self, now: Time) {
        for slot in self.slots.values_mut() {
            slot.not_before = None;
            // One that is running is looked at once more when it is over.
            slot.due = Some(now);
        }
        for line in self.lines.values_mut() {
            *line = std::mem::take(line).into_iter().map(|(_, key)| (now, key)).collect();
        }
    }

    /// When the next object is due that there is a place for.
    pub fn next_due(&self) -> Option<Time> {
        let lines = self.lines.iter().filter(|(namespace, _)| self.shares.has_place_for(namespace));
        lines.filter_map(|(_, line)| line.first()).map(|(at, _)| *at).min()
    }

    /// Objects that are due at `now` and not running.
    pub fn depth(&self, now: Time) -> usize {
        self.lines.values().map(|line| line.iter().take_while(|(at, _)| *at <= now).count()).sum()
    }
}

/// Compares the wall clock with the steady one, to notice when it is set back.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockWatch {
    last: Option<(Time, Duration)>,
}

impl ClockWatch {
    /// The clock is corrected in small steps all the time; these change nothing that matters.
    const TOLERANCE: Duration = Duration::from_secs(5);

    /// Was the wall clock set back since the last look? `steady` is the time since some fixed moment, which no step shows in.
    pub fn was_set_back(&mut self, now: Time, steady: Duration) -> bool {
        let last = self.last.replace((now, steady));
        last.is_some_and(|(then, before)| now + Self::TOLERANCE < then + steady.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_is_set_back_is_noticed_once_and_a_drift_is_not() {
        let mut watch = ClockWatch::default();
        let look = |watch: &mut ClockWatch, wall: i64, steady: u64| {
            watch.was_set_back(Time::from_unix(100_000 + wall), Duration::from_secs(steady))
        };
        assert!(!look(&mut watch, 0, 1000));
        assert!(!look(&mut watch, 3, 1003));
        assert!(!look(&mut watch, 2, 1006), "four seconds are a correction");
        assert!(look(&mut watch, -600, 1009));
        assert!(!look(&mut watch, -597, 1012), "noticed once");
        assert!(!look(&mut watch, 7200, 1015), "forward is another matter: what is due then is due");
        assert!(!look(&mut watch, 7200 + 28_800, 1015 + 28_800), "a suspended machine");
    }

    #[test]
    fn clock_that_is_set_back_makes_everything_due_whatever_it_waited_for() {
        let mut queue = Queue::new(32);
        queue.add(key("waits"), at(3600));
        queue.add(key("fails"), at(0));
        queue.add(key("runs"), at(0));
        assert_eq!(queue.take(at(0)), Some(key("fails")));
        queue.fail(&key("fails"), at(0));
        assert_eq!(queue.take(at(0)), Some(key("runs")));
        queue.clock_was_set_back(at(-7200));
        let mut due: Vec<_> = std::iter::from_fn(|| queue.take(at(-7200))).collect();
        due.sort();
        assert_eq!(due, [key("fails"), key("waits")]);
        queue.finish(&key("runs"), Some(at(3600)));
        assert_eq!(queue.take(at(-7200)), Some(key("runs")), "once more, when its pass is over");
    }

    fn key(name: &str) -> ObjectName {
        ObjectName::new("ns", name)
    }

    fn at(seconds: i64) -> Time {
        Time::from_unix(seconds)
    }

    #[test]
    fn earliest_is_taken_first_and_never_before_it_is_due() {
        let mut queue = Queue::new(32);
        queue.add(key("b"), at(5));
        queue.add(key("a"), at(3));
        queue.add(key("b"), at(9));
        assert_eq!(queue.take(at(2)), None);
        assert_eq!(queue.take(at(5)), Some(key("a")));
        assert_eq!(queue.take(at(5)), Some(key("b")), "a later time does not move it back");
        assert_eq!(queue.take(at(50)), None);
    }

    #[test]
    fn object_is_not_taken_twice_at_once_and_no_event_is_lost() {
        let mut queue = Queue::new(32);
        queue.add(key("a"), at(0));
        queue.take(at(0));
        queue.add(key("a"), at(1));
        assert_eq!(queue.take(at(9)), None, "still running");
        queue.finish(&key("a"), Some(at(100)));
        assert_eq!(queue.take(at(9)), Some(key("a")), "what came in meanwhile is due");
        queue.finish(&key("a"), Some(at(100)));
        assert_eq!(queue.next_due(), Some(at(100)));
    }

    #[test]
    fn failing_object_is_left_alone_whatever_the_watches_say() {
        let mut queue = Queue::new(32);
        queue.add(key("a"), at(0));
        queue.take(at(0));
        queue.add(key("a"), at(0));
        queue.fail(&key("a"), at(0));
        queue.add(key("a"), at(0));
        assert_eq!(queue.take(at(0)), None);
        assert_eq!(queue.take(at(1)), Some(key("a")));
        queue.fail(&key("a"), at(1));
        for pause in [2, 4, 8, 16, 30, 30].iter().scan(1, |now, pause| {
            *now += pause;
            Some(*now)
        }) {
            assert_eq!(queue.next_due(), Some(at(pause)));
            assert_eq!(queue.take(at(pause)), Some(key("a")));
            queue.fail(&key("a"), at(pause));
        }
        let due = queue.next_due().unwrap();
        queue.take(due);
        queue.finish(&key("a"), None);
        queue.add(key("a"), due);
        assert_eq!(queue.take(due), Some(key("a")), "one success ends the pause");
    }

    #[test]
    fn object_that_is_gone_leaves_nothing_behind() {
        let mut queue = Queue::new(32);
        for name in 0..100 {
            queue.add(key(&name.to_string()), at(0));
            queue.remove(&key(&name.to_string()));
        }
        assert!(queue.slots.is_empty() && queue.lines.is_empty());
        queue.add(key("a"), at(0));
        queue.take(at(0));
        queue.remove(&key("a"));
        queue.add(key("a"), at(0));
        assert_eq!(queue.take(at(9)), None, "its pass is running");
        queue.finish(&key("a"), None);
        assert_eq!(queue.take(at(9)), Some(key("a")));
    }

    #[test]
    fn namespace_with_many_objects_leaves_places_and_others_are_served_between_its_own() {
        let mut queue = Queue::new(32);
        for number in 0..300 {
            queue.add(ObjectName::new("hog", &number.to_string()), at(0));
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(at(9))).collect();
        assert_eq!(taken.len(), 24, "three quarters");
        assert_eq!(queue.next_due(), None, "nobody is to be woken for what has no place");
        queue.add(ObjectName::new("new", "a"), at(9));
        assert_eq!(queue.next_due(), Some(at(9)));
        assert_eq!(queue.take(at(9)), Some(ObjectName::new("new", "a")), "a newcomer has one at once");
        for (number, key) in taken.iter().enumerate() {
            queue.finish(key, None);
            queue.add(ObjectName::new("a", &number.to_string()), at(9));
        }
        let namespaces: Vec<_> = (0..4).filter_map(|_| queue.take(at(9))).map(|key| key.namespace).collect();
        assert_eq!(namespaces, ["a".into(), "hog".into(), "a".into(), "hog".into()], "in turn");
    }

    proptest::proptest! {
        #[test]
        fn whoever_is_due_and_has_a_place_is_passed_over_once_by_each_other_namespace(
            steps in proptest::collection::vec((0u8..5, 0u8..5, 0u8..6), 0..400), places in 1usize..12
        ) {
            let mut queue = Queue::new(places);
            let mut running = Vec::new();
            // By namespace that waits: who was served since it waits.
            let mut before: HashMap<Arc<str>, BTreeSet<Arc<str>>> = HashMap::new();
            for (step, namespace, name) in steps {
                match step {
                    0 | 1 => queue.add(ObjectName::new(&namespace.to_string(), &name.to_string()), at(0)),
                    2 | 3 => {
                        let waits = queue.lines.keys().filter(|line| queue.shares.has_place_for(line));
                        let waits: BTreeSet<_> = waits.cloned().collect();
                        before.retain(|namespace, _| waits.contains(namespace));
                        let taken = queue.take(at(0));
                        proptest::prop_assert_eq!(taken.is_none(), waits.is_empty(), "a place stays empty");
                        let Some(taken) = taken else { continue };
                        before.remove(&taken.namespace);
                        for namespace in waits.iter().filter(|namespace| **namespace != taken.namespace) {
                            let is_first = before.entry(namespace.clone()).or_default().insert(taken.namespace.clone());
                            proptest::prop_assert!(is_first, "{} is passed over twice by {}", namespace, taken.namespace);
                        }
                        running.push(taken);
                        proptest::prop_assert!(running.len() <= places);
                    }
                    _ => if let Some(key) = running.pop() { queue.finish(&key, None) },
                }
            }
        }

        #[test]
        fn every_added_object_is_taken_exactly_once_per_finish(steps in proptest::collection::vec((0u8..4, 0u8..3, 0i64..20), 0..200)) {
            let mut queue = Queue::new(32);
            let mut running = std::collections::HashSet::new();
            for (step, name, time) in steps {
                let key = key(&name.to_string());
                match step {
                    0 | 1 => queue.add(key, at(time)),
                    2 => if let Some(taken) = queue.take(at(time)) {
                        proptest::prop_assert!(running.insert(taken), "taken while running");
                    },
                    _ => if running.remove(&key) { queue.finish(&key, (time % 2 == 0).then(|| at(time))) },
                }
            }
            for key in running.drain() { queue.finish(&key, None); }
            while queue.take(at(1000)).is_some() {}
            proptest::prop_assert_eq!(queue.next_due(), None);
        }
    }
}
